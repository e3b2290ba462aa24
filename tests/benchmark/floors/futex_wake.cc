#include "tests/benchmark/floors/futex_wake.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/pinned_run.h"
#include "tests/benchmark/wake_words.h"

namespace mycelium::bench {
namespace {

struct Shared {
  WakeWords words;
  alignas(64) std::atomic<uint32_t> number;  // Of the last call let go.
};

absl::Status Lost() { return absl::AbortedError("the other side gave up"); }

void Futex(std::atomic<uint32_t>* word, bool is_shared, int operation,
           uint32_t value) {
  syscall(SYS_futex, word,
          is_shared ? operation : operation | FUTEX_PRIVATE_FLAG, value,
          nullptr, nullptr, 0);
}

absl::Status Sleep(Stage& stage, const Case& what, bool is_shared) {
  auto& shared = *static_cast<Shared*>(stage.shared());
  if (!stage.Begin()) return Lost();
  stage.MarkFirst(NowNs());
  int64_t syscalls = 0;
  const bool slept = SleepAgainAndAgain(
      stage, shared.words, what.warm_up, what.messages, [&](int64_t call) {
        const auto number = static_cast<uint32_t>(call);
        uint32_t seen;
        while ((seen = shared.number.load(std::memory_order_acquire)) !=
               number) {
          ++syscalls;
          Futex(&shared.number, is_shared, FUTEX_WAIT, seen);
        }
        return true;
      });
  if (!slept) return Lost();
  stage.End();
  stage.AddSyscalls(syscalls);
  stage.MarkLast(NowNs(), what.warm_up + what.messages);
  return absl::OkStatus();
}

absl::Status Wake(Stage& stage, bool is_shared) {
  auto& shared = *static_cast<Shared*>(stage.shared());
  if (!stage.Begin()) return Lost();
  int64_t syscalls = 0;
  const bool woken = WakeAgainAndAgain(
      stage, shared.words,
      [&](int64_t call) {
        shared.number.store(static_cast<uint32_t>(call),
                            std::memory_order_release);
        ++syscalls;
        Futex(&shared.number, is_shared, FUTEX_WAKE, 1);
        return true;
      },
      [] { CpuRelax(); });
  if (!woken) return Lost();
  stage.End();
  stage.AddSyscalls(syscalls);
  return absl::OkStatus();
}

}  // namespace

bool FutexWakeFloor::Supports(const Case& what) const {
  return what.mode == Mode::kWake && what.wait == Wait::kBlock &&
         what.kind == Kind::kRaw && what.transport != "grpc";
}

absl::StatusOr<RoundResult> FutexWakeFloor::Run(const Case& what,
                                                const CpuPair& cpus) {
  const bool is_shared = what.transport != "inproc";
  PinnedRun run;
  run.sharing =
      is_shared ? PinnedRun::Sharing::kProcesses : PinnedRun::Sharing::kThreads;
  run.cpus = {cpus.first, cpus.second};
  run.deadline_ms = what.deadline_ms;
  run.shared_bytes = sizeof(Shared);
  run.samples_max = what.messages;
  run.roles = {[&](Stage& stage) { return Sleep(stage, what, is_shared); },
               [&](Stage& stage) { return Wake(stage, is_shared); }};
  return RunPinned(run);
}

}  // namespace mycelium::bench
