#include "tests/benchmark/mycelium/unix_system.h"

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/loopback_port.h"
#include "tests/benchmark/mycelium/memory_log.h"
#include "tests/benchmark/mycelium/traffic.h"
#include "tests/benchmark/mycelium/unix_side.h"
#include "tests/benchmark/pinned_run.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::bench {
namespace {

absl::Status Lost() { return absl::AbortedError("the other side gave up"); }

absl::Status OutOfOrder() {
  return absl::DataLossError("messages out of order");
}

int64_t AllOf(const Case& what) { return what.warm_up + what.messages; }

// How many messages a handler has seen; the role's thread waits for it.
using Count = std::atomic<int64_t>;

int64_t Value(const Count& count) {
  return count.load(std::memory_order_acquire);
}

// Publishes the next message in the handler of the reply to the last.
template <typename Traffic>
absl::Status Ping(UnixSide& side, MemoryLog) {
  const Case& what = side.what();
  Stage& stage = side.stage();
  Traffic traffic(what.bytes);
  auto publisher = Traffic::MakePublisher(side.bus(), "ping");
  if (!publisher.ok()) return publisher.status();
  Count replies = 0;
  std::atomic<int64_t> last_ns = 0;
  const int64_t all = AllOf(what);
  auto publish = [&](int64_t number) {
    absl::Status sent = traffic.Publish(*publisher, number);
    if (!sent.ok()) side.Fail(sent);
  };
  auto subscription =
      Traffic::Subscribe(side.bus(), "pong", [&](int64_t number) {
        const int64_t count = Value(replies);
        if (!Traffic::IsNumber(number, count)) side.Fail(OutOfOrder());
        if (count >= what.warm_up) {
          const int64_t now_ns = NowNs();
          stage.AddSample((now_ns - last_ns.load()) / 2);
          last_ns.store(now_ns, std::memory_order_relaxed);
        }
        const bool pauses = count + 1 == what.warm_up || count + 1 == all;
        replies.store(count + 1, std::memory_order_release);
        if (!pauses) publish(count + 1);
      });
  if (!subscription.ok()) return subscription.status();
  if (absl::Status matched = side.Match(&*publisher); !matched.ok()) {
    return matched;
  }
  publish(0);
  absl::Status warm =
      side.Until([&] { return Value(replies) >= what.warm_up; });
  if (!warm.ok()) return warm;
  side.shared().warm = true;
  if (!stage.Begin()) return Lost();
  const int64_t syscalls = side.syscalls();
  last_ns = NowNs();
  stage.MarkFirst(last_ns);
  publish(what.warm_up);
  absl::Status done = side.Until([&] { return Value(replies) >= all; });
  if (!done.ok()) return done;
  stage.End();
  stage.MarkLast(last_ns, 2 * what.messages);
  side.AddSyscallsSince(syscalls);
  side.shared().done = true;
  return side.Settle(all, all);
}

template <typename Traffic>
absl::Status Pong(UnixSide& side, MemoryLog) {
  Traffic traffic(side.what().bytes);
  auto publisher = Traffic::MakePublisher(side.bus(), "pong");
  if (!publisher.ok()) return publisher.status();
  auto subscription =
      Traffic::Subscribe(side.bus(), "ping", [&](int64_t number) {
        absl::Status sent = traffic.Publish(*publisher, number);
        if (!sent.ok()) side.Fail(sent);
      });
  if (!subscription.ok()) return subscription.status();
  if (absl::Status matched = side.Match(&*publisher); !matched.ok()) {
    return matched;
  }
  absl::Status warm = side.Until([&] { return side.shared().warm.load(); });
  if (!warm.ok()) return warm;
  if (!side.stage().Begin()) return Lost();
  const int64_t syscalls = side.syscalls();
  absl::Status done = side.Until([&] { return side.shared().done.load(); });
  if (!done.ok()) return done;
  side.stage().End();
  side.AddSyscallsSince(syscalls);
  return side.Settle(AllOf(side.what()), AllOf(side.what()));
}

// Flood, and open loop at a rate. The messages of the latter are numbered by
// the time at which they should be sent.
template <typename Traffic>
absl::Status Send(UnixSide& side, MemoryLog memory) {
  const Case& what = side.what();
  Stage& stage = side.stage();
  Traffic traffic(what.bytes);
  auto publisher = Traffic::MakePublisher(side.bus(), "flood");
  if (!publisher.ok()) return publisher.status();
  if (absl::Status matched = side.Match(&*publisher); !matched.ok()) {
    return matched;
  }
  const bool open = what.mode == Mode::kOpen;
  const int64_t measured_from = open ? 0 : what.warm_up;
  for (int64_t i = 0; i < measured_from; ++i) {
    absl::Status sent = traffic.Publish(*publisher, i);
    if (!sent.ok()) return sent;
    // Handle what the peer sends meanwhile, for example that it has mapped the
    // memory of loans.
    if (side.polls()) {
      const absl::StatusOr<bool> ran = side.bus().Poll(absl::ZeroDuration());
      if (!ran.ok()) return ran.status();
    }
  }
  absl::Status warm =
      side.Until([&] { return open || side.shared().warm.load(); });
  if (!warm.ok()) return warm;
  if (!stage.Begin()) return Lost();
  const int64_t syscalls = side.syscalls();
  const int64_t start_ns = NowNs();
  stage.MarkFirst(start_ns);
  const double interval_ns = open ? 1e9 / what.rate_per_s : 0;
  for (int64_t i = measured_from; i < AllOf(what); ++i) {
    int64_t number = i;
    if (open) {
      number = start_ns + static_cast<int64_t>(interval_ns * i);
      SpinUntil(number);
    }
    absl::Status sent = traffic.Publish(*publisher, number);
    if (!sent.ok()) return sent;
    memory.At(i - what.warm_up);
    if (open && side.polls()) {
      const absl::StatusOr<bool> ran = side.bus().Poll(absl::ZeroDuration());
      if (!ran.ok()) return ran.status();
    }
  }
  absl::Status done = side.Until([&] { return side.shared().done.load(); });
  if (!done.ok()) return done;
  stage.End();
  side.AddSyscallsSince(syscalls);
  return side.Settle(AllOf(what), 0);
}

template <typename Traffic>
absl::Status Handle(UnixSide& side, MemoryLog memory) {
  const Case& what = side.what();
  Stage& stage = side.stage();
  const bool open = what.mode == Mode::kOpen;
  const int64_t all = AllOf(what);
  Count handled = 0;
  std::atomic<int64_t> last_ns = 0;
  auto subscription =
      Traffic::Subscribe(side.bus(), "flood", [&](int64_t number) {
        const int64_t count = handled.load(std::memory_order_relaxed);
        if (open) {
          const int64_t now_ns = NowNs();
          if (count >= what.warm_up) stage.AddSample(now_ns - number);
        } else if (!Traffic::IsNumber(number, count)) {
          side.Fail(OutOfOrder());
        }
        memory.At(count - what.warm_up);
        if (count + 1 == all) last_ns = NowNs();
        handled.store(count + 1, std::memory_order_release);
      });
  if (!subscription.ok()) return subscription.status();
  if (absl::Status matched = side.Match(nullptr); !matched.ok()) return matched;
  const int64_t measured_from = open ? 0 : what.warm_up;
  absl::Status warm =
      side.Until([&] { return Value(handled) >= measured_from; });
  if (!warm.ok()) return warm;
  side.shared().warm = true;
  if (!stage.Begin()) return Lost();
  const int64_t syscalls = side.syscalls();
  absl::Status done = side.Until([&] { return Value(handled) >= all; });
  if (!done.ok()) return done;
  stage.End();
  side.AddSyscallsSince(syscalls);
  stage.MarkLast(last_ns, all - measured_from);
  side.shared().done = true;
  return side.Settle(0, all);
}

using Play = absl::Status (*)(UnixSide&, MemoryLog);

template <typename Traffic>
Play PlayOf(const Case& what, int role) {
  if (what.mode == Mode::kLatency) {
    return role == 0 ? Ping<Traffic> : Pong<Traffic>;
  }
  return role == 0 ? Send<Traffic> : Handle<Traffic>;
}

}  // namespace

bool UnixSystem::Supports(const Case& what) const {
  // gRPC's threads need the CPUs that spinning sides would take.
  const bool is_grpc = what.transport == "grpc" && what.wait == Wait::kBlock;
  return (what.transport == "unix" || what.transport == "shm" || is_grpc) &&
         what.mode != Mode::kWake &&
         (polling_ == Polling::kCaller ? what.wait != Wait::kAdaptive
                                       : what.wait != Wait::kSpin);
}

absl::StatusOr<RoundResult> UnixSystem::Run(const Case& what,
                                            const CpuPair& cpus) {
  const test::ShortTempDir dir;
  const std::string path =
      what.transport == "grpc"
          ? absl::StrCat("127.0.0.1:", FreeLoopbackPort())  // port: free now
          : dir.file("bench.sock");
  const Role play = [&](Stage& stage) -> absl::Status {
    UnixSide side(
        stage, what,
        polling_ == Polling::kCaller ? PollMode::kCaller : PollMode::kThread);
    if (absl::Status opened = side.Open(path); !opened.ok()) return opened;
    const MemoryLog memory(log_memory_,
                           stage.role() == 0 ? "publisher" : "subscriber",
                           what.messages);
    const Play role =
        what.kind == Kind::kRaw    ? PlayOf<RawTraffic>(what, stage.role())
        : what.kind == Kind::kLoan ? PlayOf<LoanTraffic>(what, stage.role())
                                   : PlayOf<NoteTraffic>(what, stage.role());
    return role(side, memory);
  };
  PinnedRun run;
  run.cpus = {cpus.first, cpus.second};
  run.deadline_ms = what.deadline_ms;
  run.shared_bytes = sizeof(UnixShared);
  run.samples_max = what.mode == Mode::kFlood ? 0 : what.messages;
  run.sampling_role = what.mode == Mode::kOpen ? 1 : 0;
  run.roles = {play, play};
  return RunPinned(run);
}

}  // namespace mycelium::bench
