#include "tests/benchmark/mycelium/wake_system.h"

#include <atomic>
#include <memory>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/mycelium/bus_options.h"
#include "tests/benchmark/mycelium/counting_environment.h"
#include "tests/benchmark/mycelium/flow_totals.h"
#include "tests/benchmark/mycelium/traffic.h"
#include "tests/benchmark/mycelium/unix_side.h"
#include "tests/benchmark/pinned_run.h"
#include "tests/benchmark/wake_words.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::bench {
namespace {

constexpr char kTopic[] = "wake";

struct Shared {
  UnixShared sides;  // First, because UnixSide looks for it there.
  WakeWords words;
  std::atomic<int64_t> published;  // Once the publisher is done.
};

Shared& SharedOf(Stage& stage) { return *static_cast<Shared*>(stage.shared()); }

absl::Status Lost() { return absl::AbortedError("the other side gave up"); }

// Publishes until enough calls have slept.
absl::Status Publish(Stage& stage, const Case& what, const CountingSys& sys,
                     RawPublisher& publisher) {
  RawTraffic traffic(what.bytes);
  if (!stage.Begin()) return Lost();
  const int64_t syscalls = sys.calls();
  stage.MarkFirst(NowNs());
  absl::Status sent;
  int64_t published = 0;
  const bool slept = SleepAgainAndAgain(
      stage, SharedOf(stage).words, what.warm_up, what.messages, [&](int64_t) {
        sent = traffic.Publish(publisher, published);
        if (sent.ok()) ++published;
        return sent.ok();
      });
  if (!slept) return sent.ok() ? Lost() : sent;
  stage.MarkLast(NowNs(), published);
  stage.End();
  stage.AddSyscalls(sys.calls() - syscalls);
  SharedOf(stage).published.store(published);
  return absl::OkStatus();
}

// Takes a message whenever the publisher sleeps, and the rest at the end.
// `turn` runs the loop where no other thread does.
absl::Status Take(Stage& stage, const CountingSys& sys,
                  RawSubscriber& subscriber, absl::FunctionRef<void()> turn) {
  if (!stage.Begin()) return Lost();
  Shared& shared = SharedOf(stage);
  const int64_t syscalls = sys.calls();
  int64_t taken = 0;
  absl::Status got;
  // True: taking the message, which finished the one before it, entered the
  // kernel.
  const auto take_one = [&] {
    const int64_t before = sys.calls();
    const absl::StatusOr<std::optional<int64_t>> number =
        RawTraffic::TryReceive(subscriber);
    const bool told = sys.calls() != before;
    if (!number.ok()) {
      got = number.status();
    } else if (!number->has_value()) {
      turn();
    } else if (**number != taken++) {
      got = absl::DataLossError("messages out of order");
    }
    return told;
  };
  const bool woke = WakeAgainAndAgain(
      stage, shared.words, [&](int64_t) { return take_one() || !got.ok(); },
      turn);
  if (!woke) return Lost();
  stage.End();
  stage.AddSyscalls(sys.calls() - syscalls);
  const auto is_all = [&] {
    const int64_t published = shared.published.load();
    return published != 0 && taken == published;
  };
  while (got.ok() && !is_all()) {
    if (stage.aborted()) return Lost();
    take_one();
  }
  take_one();  // Finishes the last one.
  return got;
}

absl::StatusOr<RoundResult> RunRoles(const Case& what, const CpuPair& cpus,
                                     PinnedRun::Sharing sharing, Role first,
                                     Role second) {
  PinnedRun run;
  run.sharing = sharing;
  run.cpus = {cpus.first, cpus.second};
  run.deadline_ms = what.deadline_ms;
  run.shared_bytes = sizeof(Shared);
  run.samples_max = what.messages;
  run.roles = {std::move(first), std::move(second)};
  return RunPinned(run);
}

absl::StatusOr<RoundResult> RunInproc(const Case& what, const CpuPair& cpus) {
  // What the first role makes stays if a role fails, because the other role may
  // be using it.
  CountingEnvironment world;
  std::unique_ptr<MessageBus> bus;
  std::optional<RawSubscriber> subscriber;
  std::optional<RawPublisher> publisher;
  const Role publish = [&](Stage& stage) -> absl::Status {
    auto made = MessageBus::Create(OptionsFor(what, PollMode::kThread, world));
    if (!made.ok()) return made.status();
    bus = *std::move(made);
    auto pulled = RawTraffic::MakeSubscriber(*bus, kTopic);
    if (!pulled.ok()) return pulled.status();
    subscriber.emplace(*std::move(pulled));
    auto publishes = RawTraffic::MakePublisher(*bus, kTopic);
    if (!publishes.ok()) return publishes.status();
    publisher.emplace(*std::move(publishes));
    if (!stage.Meet()) return Lost();
    absl::Status played = Publish(stage, what, world.sys, *publisher);
    if (!played.ok()) return played;
    if (!stage.Meet()) return Lost();
    const FlowTotals totals = TotalsOf(*bus);
    publisher.reset();
    subscriber.reset();
    bus.reset();
    return CheckTotals(totals, SharedOf(stage).published.load());
  };
  const Role take = [&](Stage& stage) -> absl::Status {
    if (!stage.Meet()) return Lost();
    absl::Status played =
        Take(stage, world.sys, *subscriber, [] { CpuRelax(); });
    if (played.ok() && !stage.Meet()) return Lost();
    return played;
  };
  return RunRoles(what, cpus, PinnedRun::Sharing::kThreads, publish, take);
}

absl::Status PublishOverLink(UnixSide& side) {
  auto publisher = RawTraffic::MakePublisher(side.bus(), kTopic);
  if (!publisher.ok()) return publisher.status();
  if (absl::Status matched = side.Match(&*publisher); !matched.ok()) {
    return matched;
  }
  absl::Status played =
      Publish(side.stage(), side.what(), side.sys(), *publisher);
  if (!played.ok()) return played;
  // The loop still has to send what is on its way.
  absl::Status done = side.Until([&] { return side.shared().done.load(); });
  if (!done.ok()) return done;
  return side.Settle(SharedOf(side.stage()).published.load(), 0);
}

absl::Status TakeOverLink(UnixSide& side) {
  auto subscriber = RawTraffic::MakeSubscriber(side.bus(), kTopic);
  if (!subscriber.ok()) return subscriber.status();
  if (absl::Status matched = side.Match(nullptr); !matched.ok()) {
    return matched;
  }
  absl::Status played = Take(side.stage(), side.sys(), *subscriber, [&] {
    if (side.polls()) (void)side.bus().Poll(absl::ZeroDuration());
  });
  if (!played.ok()) return played;
  side.shared().done = true;
  return side.Settle(0, SharedOf(side.stage()).published.load());
}

}  // namespace

std::string WakeSystem::variant() const {
  switch (path_) {
    case Path::kInproc:
      return "queued";
    case Path::kLinkCaller:
      return "caller";
    case Path::kLinkThread:
      break;
  }
  return "thread";
}

bool WakeSystem::Supports(const Case& what) const {
  return what.mode == Mode::kWake && what.wait == Wait::kBlock &&
         what.kind == Kind::kRaw &&
         (path_ == Path::kInproc
              ? what.transport == "inproc"
              : what.transport == "unix" || what.transport == "shm");
}

absl::StatusOr<RoundResult> WakeSystem::Run(const Case& what,
                                            const CpuPair& cpus) {
  if (path_ == Path::kInproc) return RunInproc(what, cpus);
  const test::ShortTempDir dir;
  const std::string path = dir.file("wake.sock");
  const Role play = [&](Stage& stage) -> absl::Status {
    UnixSide side(
        stage, what,
        path_ == Path::kLinkCaller ? PollMode::kCaller : PollMode::kThread);
    if (absl::Status opened = side.Open(path); !opened.ok()) return opened;
    return stage.role() == 0 ? PublishOverLink(side) : TakeOverLink(side);
  };
  return RunRoles(what, cpus, PinnedRun::Sharing::kProcesses, play, play);
}

}  // namespace mycelium::bench
