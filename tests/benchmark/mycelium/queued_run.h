#ifndef TESTS_BENCHMARK_MYCELIUM_QUEUED_RUN_H_
#define TESTS_BENCHMARK_MYCELIUM_QUEUED_RUN_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mycelium/bus/message_bus.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/mycelium/bus_options.h"
#include "tests/benchmark/mycelium/counting_environment.h"
#include "tests/benchmark/mycelium/flow_totals.h"
#include "tests/benchmark/mycelium/memory_log.h"
#include "tests/benchmark/mycelium/queued_system.h"
#include "tests/benchmark/pinned_run.h"

// A run of QueuedSystem with any traffic: those of traffic.h, or one that
// fails.
namespace mycelium::bench::queued {

inline constexpr absl::Duration kReceiveTimeout = absl::Seconds(5);

inline absl::Status Lost() {
  return absl::AbortedError("the other side gave up");
}

// One run: a bus, and a topic each way. The first role makes it, and both roles
// use it.
template <typename Traffic>
struct Exchange {
  CountingEnvironment world;
  std::unique_ptr<MessageBus> bus;
  std::optional<typename Traffic::Publisher> ping_publisher, pong_publisher;
  std::optional<typename Traffic::Subscriber> ping_subscriber, pong_subscriber;

  absl::Status Make(const Case& what) {
    absl::StatusOr<std::unique_ptr<MessageBus>> made =
        MessageBus::Create(OptionsFor(
            what,
            what.wait == Wait::kSpin ? PollMode::kCaller : PollMode::kThread,
            world));
    if (!made.ok()) return made.status();
    bus = *std::move(made);
    if (absl::Status ping = Join("ping", &ping_publisher, &ping_subscriber);
        !ping.ok()) {
      return ping;
    }
    return Join("pong", &pong_publisher, &pong_subscriber);
  }

  absl::Status Join(const std::string& topic,
                    std::optional<typename Traffic::Publisher>* publisher,
                    std::optional<typename Traffic::Subscriber>* subscriber) {
    auto subscribed = Traffic::MakeSubscriber(*bus, topic);
    if (!subscribed.ok()) return subscribed.status();
    subscriber->emplace(*std::move(subscribed));
    auto publishes = Traffic::MakePublisher(*bus, topic);
    if (!publishes.ok()) return publishes.status();
    publisher->emplace(*std::move(publishes));
    return absl::OkStatus();
  }
};

// The state that both roles of a run share. The first role makes the exchange
// before they meet, and ends it once both are done. If a role fails the
// exchange stays, because the other role may be using it.
template <typename Traffic>
struct Turn {
  const Case& what;
  QueuedSystem::Pull pull;
  bool log_memory;
  std::unique_ptr<Exchange<Traffic>> exchange = nullptr;
};

template <typename Traffic>
absl::StatusOr<int64_t> Pull(const Turn<Traffic>& run, Stage& stage,
                             typename Traffic::Subscriber& subscriber) {
  if (run.pull == QueuedSystem::Pull::kReceive) {
    return Traffic::Receive(subscriber, kReceiveTimeout);
  }
  while (true) {
    const absl::StatusOr<std::optional<int64_t>> number =
        Traffic::TryReceive(subscriber);
    if (!number.ok()) return number.status();
    if (number->has_value()) return **number;
    if (stage.aborted()) return Lost();
  }
}

template <typename Traffic>
absl::Status Ping(Turn<Traffic>& run, Stage& stage) {
  Traffic traffic(run.what.bytes);
  auto round_trip = [&](int64_t number) {
    absl::Status sent = traffic.Publish(*run.exchange->ping_publisher, number);
    if (!sent.ok()) return sent;
    const auto echoed = Pull(run, stage, *run.exchange->pong_subscriber);
    if (!echoed.ok()) return echoed.status();
    if (*echoed == number) return absl::OkStatus();
    return absl::DataLossError("a reply is not an echo");
  };
  for (int64_t i = 0; i < run.what.warm_up; ++i) {
    if (absl::Status done = round_trip(i); !done.ok()) return done;
  }
  if (!stage.Begin()) return Lost();
  const int64_t syscalls = run.exchange->world.sys.calls();
  int64_t last_ns = NowNs();
  stage.MarkFirst(last_ns);
  for (int64_t i = 0; i < run.what.messages; ++i) {
    if (absl::Status done = round_trip(i); !done.ok()) return done;
    const int64_t now_ns = NowNs();
    stage.AddSample((now_ns - last_ns) / 2);
    last_ns = now_ns;
  }
  stage.End();
  stage.MarkLast(last_ns, 2 * run.what.messages);
  // Both sides share one world, so the other side adds nothing.
  stage.AddSyscalls(run.exchange->world.sys.calls() - syscalls);
  return absl::OkStatus();
}

template <typename Traffic>
absl::Status Pong(Turn<Traffic>& run, Stage& stage) {
  Traffic traffic(run.what.bytes);
  const int64_t all = run.what.warm_up + run.what.messages;
  for (int64_t i = 0; i < all; ++i) {
    if (i == run.what.warm_up && !stage.Begin()) return Lost();
    const auto number = Pull(run, stage, *run.exchange->ping_subscriber);
    if (!number.ok()) return number.status();
    absl::Status sent = traffic.Publish(*run.exchange->pong_publisher, *number);
    if (!sent.ok()) return sent;
  }
  stage.End();
  return absl::OkStatus();
}

// Flood, and open loop at a rate.
template <typename Traffic>
absl::Status Send(Turn<Traffic>& run, Stage& stage) {
  Traffic traffic(run.what.bytes);
  const bool open = run.what.mode == Mode::kOpen;
  const double interval_ns = open ? 1e9 / run.what.rate_per_s : 0;
  const int64_t all = run.what.warm_up + run.what.messages;
  int64_t start_ns = 0;
  int64_t syscalls = 0;
  for (int64_t i = 0; i < all; ++i) {
    if (i == (open ? 0 : run.what.warm_up)) {
      if (!stage.Begin()) return Lost();
      syscalls = run.exchange->world.sys.calls();
      start_ns = NowNs();
      stage.MarkFirst(start_ns);
    }
    int64_t number = i;
    if (open) {
      number = start_ns + static_cast<int64_t>(interval_ns * i);
      SpinUntil(number);
    }
    absl::Status sent = traffic.Publish(*run.exchange->ping_publisher, number);
    if (!sent.ok()) return sent;
  }
  stage.End();
  stage.AddSyscalls(run.exchange->world.sys.calls() - syscalls);
  return absl::OkStatus();
}

template <typename Traffic>
absl::Status Take(Turn<Traffic>& run, Stage& stage) {
  const bool open = run.what.mode == Mode::kOpen;
  const int64_t all = run.what.warm_up + run.what.messages;
  MemoryLog memory(run.log_memory, "queued", run.what.messages);
  int64_t now_ns = 0;
  for (int64_t i = 0; i < all; ++i) {
    if (i == (open ? 0 : run.what.warm_up) && !stage.Begin()) return Lost();
    const auto number = Pull(run, stage, *run.exchange->ping_subscriber);
    if (!number.ok()) return number.status();
    memory.At(i - run.what.warm_up);
    if (open) {
      now_ns = NowNs();
      if (i >= run.what.warm_up) stage.AddSample(now_ns - *number);
    } else if (*number != i) {
      return absl::DataLossError("messages out of order");
    }
  }
  if (!open) now_ns = NowNs();
  stage.End();
  stage.MarkLast(now_ns, open ? all : run.what.messages);
  return absl::OkStatus();
}

// The first role: makes what both roles use, then plays its own side.
template <typename Traffic>
absl::Status PlayFirst(Turn<Traffic>& run, Stage& stage) {
  run.exchange = std::make_unique<Exchange<Traffic>>();
  if (absl::Status made = run.exchange->Make(run.what); !made.ok()) return made;
  if (!stage.Meet()) return Lost();
  const bool latency = run.what.mode == Mode::kLatency;
  absl::Status played = latency ? Ping(run, stage) : Send(run, stage);
  if (!played.ok()) return played;
  if (!stage.Meet()) return Lost();
  const int64_t all = run.what.warm_up + run.what.messages;
  const FlowTotals totals = TotalsOf(*run.exchange->bus);
  run.exchange.reset();
  return CheckTotals(totals, latency ? 2 * all : all);
}

template <typename Traffic>
absl::Status PlaySecond(Turn<Traffic>& run, Stage& stage) {
  if (!stage.Meet()) return Lost();
  absl::Status played =
      run.what.mode == Mode::kLatency ? Pong(run, stage) : Take(run, stage);
  if (played.ok() && !stage.Meet()) return Lost();
  return played;
}

template <typename Traffic>
absl::StatusOr<RoundResult> RunWith(Turn<Traffic> state, const CpuPair& cpus) {
  const Case& what = state.what;
  PinnedRun run;
  run.sharing = PinnedRun::Sharing::kThreads;
  run.cpus = {cpus.first, cpus.second};
  run.deadline_ms = what.deadline_ms;
  run.samples_max = what.mode == Mode::kFlood ? 0 : what.messages;
  run.sampling_role = what.mode == Mode::kOpen ? 1 : 0;
  run.roles = {[&](Stage& stage) { return PlayFirst(state, stage); },
               [&](Stage& stage) { return PlaySecond(state, stage); }};
  return RunPinned(run);
}

}  // namespace mycelium::bench::queued

#endif  // TESTS_BENCHMARK_MYCELIUM_QUEUED_RUN_H_
