#include "tests/benchmark/mycelium/queued_system.h"

#include "tests/benchmark/mycelium/queued_run.h"
#include "tests/benchmark/mycelium/traffic.h"

namespace mycelium::bench {

bool QueuedSystem::Supports(const Case& what) const {
  return what.transport == "inproc" && what.mode != Mode::kWake &&
         (pull_ == Pull::kReceive || what.wait == Wait::kSpin);
}

absl::StatusOr<RoundResult> QueuedSystem::Run(const Case& what,
                                              const CpuPair& cpus) {
  if (what.kind == Kind::kLoan) {
    return queued::RunWith<LoanTraffic>({what, pull_, log_memory_}, cpus);
  }
  if (what.kind == Kind::kRaw) {
    return queued::RunWith<RawTraffic>({what, pull_, log_memory_}, cpus);
  }
  return queued::RunWith<NoteTraffic>({what, pull_, log_memory_}, cpus);
}

}  // namespace mycelium::bench
