// How long a call of Publish() takes over shared memory while the subscribers,
// in another process, spin: what a thread pays that has other things to do than
// to publish. The bench measures how long messages take to arrive, and how many
// go through.
//
// Rounds of two kinds in turn: as it is, and as where the kernel runs no
// barriers between processes, so that the publisher looks by a locked
// instruction whether a reader sleeps (docs/adr/0045).
//
//   bazel run -c opt //tests/benchmark:publish_call -- --subscribers=8

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/heavy_barrier.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shm_endpoint.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/floors/handover.h"
#include "tests/benchmark/machine.h"
#include "tests/benchmark/mycelium/flow_totals.h"
#include "tests/benchmark/pinned_run.h"
#include "tests/benchmark/statistics.h"
#include "tests/support/short_temp_dir.h"

ABSL_FLAG(int, subscribers, 1, "nodes that receive, all in one process");
ABSL_FLAG(size_t, bytes, 64, "of a message");
ABSL_FLAG(int, messages, 100'000, "that are timed in a round");
ABSL_FLAG(int64_t, pause_ns, 1'000, "before each call");
ABSL_FLAG(int, rounds, 3, "of each kind");

namespace mycelium::bench {
namespace {

constexpr int kWarmUp = 20'000;
constexpr int64_t kDeadlineMs = 30'000;  // Besides what was asked for.
constexpr int kMessagesMax = 10'000'000;
constexpr absl::Duration kLong = absl::Seconds(20);

// What the two processes tell each other. Starts as zeroes.
struct Shared {
  std::atomic<bool> matched;
  std::atomic<bool> done;
  std::atomic<int64_t> accepted;
  std::atomic<int64_t> dropped;
};

// A kernel that runs no barriers between processes.
class SysWithoutBarriers final : public Sys {
 public:
  int64_t RegisterSharedBarrier() override { return -EINVAL; }
};

BusOptions OptionsOf(const std::string& node) {
  BusOptions options;
  options.node = node;
  options.poll = PollMode::kCaller;
  options.wait = WaitMode::kSpin;
  return options;
}

absl::Status Poll(MessageBus& bus) {
  return bus.Poll(absl::ZeroDuration()).status();
}

class Publishing final {
 public:
  Publishing(const test::ShortTempDir& folder, bool has_barriers)
      : folder_(folder), has_barriers_(has_barriers) {}

  absl::Status operator()(Stage& stage) {
    Shared& shared = *static_cast<Shared*>(stage.shared());
    SysWithoutBarriers sys;
    SystemWaiter waiter(sys, Environment::Real().clock);
    Environment environment = {sys, Environment::Real().clock, waiter};
    BusOptions options = OptionsOf("publisher");
    if (!has_barriers_) options.environment = &environment;
    const auto bus = *MessageBus::Create(options);
    if (has_barriers_ && !has_shared_heavy_barrier()) {
      return absl::UnavailableError("this kernel runs none between processes");
    }
    const int subscribers = absl::GetFlag(FLAGS_subscribers);
    if (!stage.Meet()) return absl::OkStatus();
    for (int i = 0; i < subscribers; ++i) {
      absl::Status dialled =
          DialShmEndpoint(folder_.file(absl::StrCat(i)), *bus);
      if (!dialled.ok()) return dialled;
    }
    auto publisher = *bus->RawPublisher(RawMessageType("bytes"));
    while (publisher.subscriber_count() < static_cast<size_t>(subscribers)) {
      if (absl::Status polled = Poll(*bus); !polled.ok()) return polled;
    }
    shared.matched.store(true);
    const std::vector<std::byte> bytes(absl::GetFlag(FLAGS_bytes));
    const int all = kWarmUp + absl::GetFlag(FLAGS_messages);
    for (int i = 0; i < all; ++i) {
      SpinUntil(NowNs() + absl::GetFlag(FLAGS_pause_ns));
      const int64_t before = NowNs();
      absl::Status published = publisher.Publish(bytes);
      const int64_t took = NowNs() - before;
      if (!published.ok()) return published;
      if (i >= kWarmUp) stage.AddSample(took);
    }
    if (absl::Status flushed = bus->Flush(kLong); !flushed.ok()) return flushed;
    const FlowTotals totals = TotalsOf(*bus);
    shared.accepted.store(totals.accepted);
    shared.dropped.store(totals.dropped);
    shared.done.store(true);
    return absl::OkStatus();
  }

 private:
  const test::ShortTempDir& folder_;
  const bool has_barriers_;
};

class Receiving final {
 public:
  explicit Receiving(const test::ShortTempDir& folder) : folder_(folder) {}

  absl::Status operator()(Stage& stage) {
    Shared& shared = *static_cast<Shared*>(stage.shared());
    std::vector<std::unique_ptr<MessageBus>> buses;
    std::vector<ShmEndpointHandle> endpoints;
    std::vector<SubscriptionHandle> handles;
    for (int i = 0; i < absl::GetFlag(FLAGS_subscribers); ++i) {
      const std::string name = absl::StrCat(i);
      buses.push_back(*MessageBus::Create(OptionsOf("receiver" + name)));
      auto endpoint = BindShmEndpoint(folder_.file(name), *buses.back());
      if (!endpoint.ok()) return endpoint.status();
      endpoints.push_back(*std::move(endpoint));
      handles.push_back(*buses.back()->SubscribeRaw(
          RawMessageType("bytes"),
          [](absl::Span<const std::byte>, const MessageInfo&) {}));
    }
    if (!stage.Meet()) return absl::OkStatus();
    const auto turn_until = [&](const std::atomic<bool>& flag) {
      absl::Status polled;
      while (polled.ok() && !flag.load() && !stage.aborted()) {
        for (const auto& bus : buses) polled.Update(Poll(*bus));
      }
      return polled;
    };
    absl::Status polled = turn_until(shared.matched);
    polled.Update(turn_until(shared.done));
    if (!polled.ok() || stage.aborted()) return polled;
    FlowTotals totals = {shared.accepted, 0, shared.dropped};
    for (const auto& bus : buses) {
      const FlowTotals received = TotalsOf(*bus);
      totals.delivered += received.delivered;
      totals.dropped += received.dropped;
    }
    const int messages = kWarmUp + absl::GetFlag(FLAGS_messages);
    return CheckTotals(totals, int64_t{messages} * handles.size());
  }

 private:
  const test::ShortTempDir& folder_;
};

absl::StatusOr<Percentiles> RunRound(const CpuPair& cpus, bool has_barriers) {
  const test::ShortTempDir folder;
  PinnedRun run;
  run.cpus = {cpus.first, cpus.second};
  run.roles = {Publishing(folder, has_barriers), Receiving(folder)};
  run.shared_bytes = sizeof(Shared);
  run.samples_max = absl::GetFlag(FLAGS_messages);
  // A subscriber's share of a call, at a rate that any machine reaches.
  const int64_t share_ns =
      1'000 + static_cast<int64_t>(absl::GetFlag(FLAGS_bytes));
  const int64_t call_ns = absl::GetFlag(FLAGS_pause_ns) +
                          absl::GetFlag(FLAGS_subscribers) * share_ns;
  run.deadline_ms =
      kDeadlineMs + (kWarmUp + run.samples_max) * call_ns / 1'000'000;
  const absl::StatusOr<RoundResult> result = RunPinned(run);
  if (!result.ok()) return result.status();
  return PercentilesOf(result->latencies_ns);
}

absl::StatusOr<Percentiles> RunHandover(const CpuPair& cpus) {
  Case what;
  what.transport = "shm";
  what.messages = 20'000;
  what.warm_up = 2'000;
  what.deadline_ms = kDeadlineMs;
  const absl::StatusOr<RoundResult> result = HandoverFloor().Run(what, cpus);
  if (!result.ok()) return result.status();
  return PercentilesOf(result->latencies_ns);
}

void Print(const char* what, const Percentiles& ns) {
  const auto ll = [](int64_t n) { return static_cast<long long>(n); };
  std::printf("%-28s %8lld %8lld %8lld %8lld\n", what, ll(ns.p50), ll(ns.p99),
              ll(ns.p999), ll(ns.max));
}

// The least that a call could take by this clock.
Percentiles TimeNothing() {
  std::vector<int64_t> samples(10'000);
  for (int64_t& sample : samples) {
    const int64_t before = NowNs();
    sample = NowNs() - before;
  }
  return PercentilesOf(std::move(samples));
}

absl::Status CheckFlags() {
  const int subscribers = absl::GetFlag(FLAGS_subscribers);
  if (subscribers < 1 || subscribers > 100 ||
      absl::GetFlag(FLAGS_messages) < 1 ||
      absl::GetFlag(FLAGS_messages) > kMessagesMax ||
      absl::GetFlag(FLAGS_rounds) < 1 || absl::GetFlag(FLAGS_pause_ns) < 0 ||
      absl::GetFlag(FLAGS_pause_ns) > 1'000'000'000 ||
      absl::GetFlag(FLAGS_bytes) > 1'000'000) {
    return absl::InvalidArgumentError(
        "--subscribers is 1 to 100, --messages 1 to 10000000, --rounds above "
        "0, "
        "--pause_ns is 0 to 1000000000, --bytes is at most 1000000");
  }
  return absl::OkStatus();
}

absl::Status Run() {
  const Machine machine = ThisMachine();
  if (machine.cpus_allowed.size() < 2) {
    return absl::FailedPreconditionError("two CPUs are needed");
  }
  const CpuPair cpus = {machine.cpus_allowed[0], machine.cpus_allowed[1]};
#ifndef NDEBUG
  std::printf("built without -c opt: the figures mislead\n");
#endif
  std::printf("machine: %s, %s; %d subscribers, %zu bytes\n",
              machine.cpu_model.c_str(), machine.kernel.c_str(),
              absl::GetFlag(FLAGS_subscribers), absl::GetFlag(FLAGS_bytes));
  std::printf("%-28s %8s %8s %8s %8s\n", "ns", "p50", "p99", "p99.9", "max");
  for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
    const absl::StatusOr<Percentiles> handover = RunHandover(cpus);
    if (!handover.ok()) return handover.status();
    Print("hand-over, one way", *handover);
    Print("two looks at the clock", TimeNothing());
    for (const bool has_barriers : {false, true}) {
      const char* const what =
          has_barriers ? "Publish()" : "Publish(), no barriers";
      const absl::StatusOr<Percentiles> call = RunRound(cpus, has_barriers);
      if (call.ok()) {
        Print(what, *call);
      } else if (has_barriers && absl::IsUnavailable(call.status())) {
        std::printf("%-28s %s\n", what,
                    std::string(call.status().message()).c_str());
      } else {
        return call.status();
      }
    }
  }
  return absl::OkStatus();
}

int Main() {
  absl::Status status = CheckFlags();
  const int failed = status.ok() ? 1 : 2;
  if (status.ok()) status = Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "publish_call: %s\n", status.ToString().c_str());
  return failed;
}

}  // namespace
}  // namespace mycelium::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("times Publish() while the subscribers spin");
  absl::ParseCommandLine(argc, argv);
  return mycelium::bench::Main();
}
