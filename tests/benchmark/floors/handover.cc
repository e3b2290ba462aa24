#include "tests/benchmark/floors/handover.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/status/status.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/pinned_run.h"

namespace mycelium::bench {
namespace {

// One direction. The payload lies behind it, from the next line on.
struct alignas(64) Slot {
  std::atomic<uint32_t> flag;  // Number of the message in it; 0: none yet.
};

size_t SlotBytes(size_t payload_bytes) {
  return sizeof(Slot) + (payload_bytes + 63) / 64 * 64;
}

// One role's view of one direction.
class Channel final {
 public:
  Channel(void* memory, const Case& what)
      : slot_(static_cast<Slot*>(memory)),
        payload_(static_cast<char*>(memory) + sizeof(Slot)),
        bytes_(what.bytes),
        sleeps_(what.wait == Wait::kBlock) {}

  void Send(uint32_t number, const char* bytes) {
    std::memcpy(payload_, bytes, bytes_);
    Signal(number);
  }

  void Receive(uint32_t number, char* bytes) {
    Await(number);
    std::memcpy(bytes, payload_, bytes_);
  }

  void Signal(uint32_t number) {
    // Pairs with the load in Await(): the payload is visible before the flag.
    slot_->flag.store(number, std::memory_order_release);
    if (sleeps_) Futex(FUTEX_WAKE, 1);
  }

  void Await(uint32_t number) {
    uint32_t seen;
    while ((seen = slot_->flag.load(std::memory_order_acquire)) != number) {
      if (sleeps_) {
        Futex(FUTEX_WAIT, seen);
      } else {
        CpuRelax();
      }
    }
  }

  int64_t syscalls() const { return syscalls_; }

 private:
  void Futex(int operation, uint32_t value) {
    ++syscalls_;
    syscall(SYS_futex, &slot_->flag, operation, value, nullptr, nullptr, 0);
  }

  Slot* const slot_;
  char* const payload_;
  const size_t bytes_;
  const bool sleeps_;
  int64_t syscalls_ = 0;
};

struct Ends {
  Ends(Stage& stage, const Case& what)
      : ping(stage.shared(), what),
        pong(static_cast<char*>(stage.shared()) + SlotBytes(what.bytes), what),
        bytes(what.bytes, 'x') {}

  int64_t syscalls() const { return ping.syscalls() + pong.syscalls(); }

  Channel ping;
  Channel pong;
  std::vector<char> bytes;
};

absl::Status Lost() { return absl::AbortedError("the other side gave up"); }

absl::Status Ping(Stage& stage, const Case& what) {
  Ends ends(stage, what);
  if (!stage.Meet()) return Lost();
  uint32_t number = 0;
  for (int64_t i = 0; i < what.warm_up; ++i) {
    ends.ping.Send(++number, ends.bytes.data());
    ends.pong.Receive(number, ends.bytes.data());
  }
  if (!stage.Begin()) return Lost();
  const int64_t syscalls = ends.syscalls();
  int64_t last_ns = NowNs();
  stage.MarkFirst(last_ns);
  for (int64_t i = 0; i < what.messages; ++i) {
    std::memcpy(ends.bytes.data(), &i, sizeof i);
    ends.ping.Send(++number, ends.bytes.data());
    ends.pong.Receive(number, ends.bytes.data());
    const int64_t now_ns = NowNs();
    stage.AddSample((now_ns - last_ns) / 2);
    last_ns = now_ns;
  }
  stage.End();
  stage.MarkLast(last_ns, 2 * what.messages);
  stage.AddSyscalls(ends.syscalls() - syscalls);
  int64_t echoed;
  std::memcpy(&echoed, ends.bytes.data(), sizeof echoed);
  if (echoed == what.messages - 1) return absl::OkStatus();
  return absl::DataLossError("the last reply is not an echo");
}

absl::Status Pong(Stage& stage, const Case& what) {
  Ends ends(stage, what);
  if (!stage.Meet()) return Lost();
  uint32_t number = 0;
  for (int64_t i = 0; i < what.warm_up; ++i) {
    ends.ping.Receive(++number, ends.bytes.data());
    ends.pong.Send(number, ends.bytes.data());
  }
  if (!stage.Begin()) return Lost();
  const int64_t syscalls = ends.syscalls();
  for (int64_t i = 0; i < what.messages; ++i) {
    ends.ping.Receive(++number, ends.bytes.data());
    ends.pong.Send(number, ends.bytes.data());
  }
  stage.End();
  stage.AddSyscalls(ends.syscalls() - syscalls);
  return absl::OkStatus();
}

absl::Status SendAtRate(Stage& stage, const Case& what) {
  Ends ends(stage, what);
  const double interval_ns = 1e9 / what.rate_per_s;
  if (!stage.Begin()) return Lost();
  const int64_t start_ns = NowNs();
  stage.MarkFirst(start_ns);
  uint32_t number = 0;
  for (int64_t i = 0; i < what.warm_up + what.messages; ++i) {
    const int64_t intended_ns =
        start_ns + static_cast<int64_t>(interval_ns * static_cast<double>(i));
    SpinUntil(intended_ns);
    ends.pong.Await(number);  // There is room for one message.
    std::memcpy(ends.bytes.data(), &intended_ns, sizeof intended_ns);
    ends.ping.Send(++number, ends.bytes.data());
  }
  stage.End();
  stage.AddSyscalls(ends.syscalls());
  return absl::OkStatus();
}

absl::Status ReceiveAtRate(Stage& stage, const Case& what) {
  Ends ends(stage, what);
  if (!stage.Begin()) return Lost();
  uint32_t number = 0;
  int64_t now_ns = 0;
  for (int64_t i = 0; i < what.warm_up + what.messages; ++i) {
    ends.ping.Receive(++number, ends.bytes.data());
    now_ns = NowNs();
    ends.pong.Signal(number);
    int64_t intended_ns;
    std::memcpy(&intended_ns, ends.bytes.data(), sizeof intended_ns);
    if (i >= what.warm_up) stage.AddSample(now_ns - intended_ns);
  }
  stage.End();
  stage.AddSyscalls(ends.syscalls());
  stage.MarkLast(now_ns, what.warm_up + what.messages);
  return absl::OkStatus();
}

}  // namespace

bool HandoverFloor::Supports(const Case& what) const {
  return (what.transport == "inproc" || what.transport == "shm") &&
         (what.mode == Mode::kLatency || what.mode == Mode::kOpen) &&
         what.kind == Kind::kRaw;
}

absl::StatusOr<RoundResult> HandoverFloor::Run(const Case& what,
                                               const CpuPair& cpus) {
  const bool open = what.mode == Mode::kOpen;
  PinnedRun run;
  run.sharing = what.transport == "inproc" ? PinnedRun::Sharing::kThreads
                                           : PinnedRun::Sharing::kProcesses;
  run.cpus = {cpus.first, cpus.second};
  run.deadline_ms = what.deadline_ms;
  run.shared_bytes = 2 * SlotBytes(what.bytes);
  run.samples_max = what.messages;
  run.sampling_role = open ? 1 : 0;
  run.roles = {[&](Stage& stage) {
                 return open ? SendAtRate(stage, what) : Ping(stage, what);
               },
               [&](Stage& stage) {
                 return open ? ReceiveAtRate(stage, what) : Pong(stage, what);
               }};
  return RunPinned(run);
}

}  // namespace mycelium::bench
