#include "tests/benchmark/mycelium/inline_system.h"

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/mycelium/counting_environment.h"
#include "tests/benchmark/mycelium/flow_totals.h"
#include "tests/benchmark/mycelium/memory_log.h"
#include "tests/benchmark/mycelium/traffic.h"
#include "tests/benchmark/pinned_run.h"

namespace mycelium::bench {
namespace {

constexpr int64_t kBatch = 256;

absl::Status Lost() { return absl::AbortedError("the other side gave up"); }

template <typename Traffic>
absl::Status PublishToOneself(Stage& stage, const Case& what,
                              MemoryLog memory) {
  CountingEnvironment world;
  BusOptions options;
  options.node = "bench";
  options.poll = PollMode::kCaller;  // No second thread.
  options.environment = &world.environment;
  absl::StatusOr<std::unique_ptr<MessageBus>> bus = MessageBus::Create(options);
  if (!bus.ok()) return bus.status();
  int64_t handled = 0;
  int64_t in_order = 0;
  absl::StatusOr<SubscriptionHandle> subscription =
      Traffic::Subscribe(**bus, "flood", [&](int64_t number) {
        in_order += Traffic::IsNumber(number, handled++) ? 1 : 0;
      });
  if (!subscription.ok()) return subscription.status();
  absl::StatusOr<typename Traffic::Publisher> publisher =
      Traffic::MakePublisher(**bus, "flood");
  if (!publisher.ok()) return publisher.status();

  Traffic traffic(what.bytes);
  int64_t sent = 0;
  for (; sent < what.warm_up; ++sent) {
    absl::Status published = traffic.Publish(*publisher, sent);
    if (!published.ok()) return published;
  }
  if (!stage.Begin()) return Lost();
  const int64_t syscalls = world.sys.calls();
  const int64_t all = what.warm_up + what.messages;
  int64_t last_ns = NowNs();
  stage.MarkFirst(last_ns);
  while (sent < all) {
    const int64_t count = std::min(kBatch, all - sent);
    for (const int64_t end = sent + count; sent < end; ++sent) {
      absl::Status published = traffic.Publish(*publisher, sent);
      if (!published.ok()) return published;
      memory.At(sent - what.warm_up);
    }
    const int64_t now_ns = NowNs();
    stage.AddSample((now_ns - last_ns) / count);
    last_ns = now_ns;
  }
  stage.End();
  stage.AddSyscalls(world.sys.calls() - syscalls);
  stage.MarkLast(last_ns, what.messages);
  if (in_order != all) return absl::DataLossError("messages out of order");
  return CheckTotals(TotalsOf(**bus), all);
}

}  // namespace

bool InlineSystem::Supports(const Case& what) const {
  return what.transport == "inproc" && what.mode == Mode::kFlood &&
         what.wait == Wait::kSpin && what.kind != Kind::kLoan &&
         (publish_ == Publish::kByReference || what.kind == Kind::kProtobuf);
}

absl::StatusOr<RoundResult> InlineSystem::Run(const Case& what,
                                              const CpuPair& cpus) {
  using Side = absl::Status (*)(Stage&, const Case&, MemoryLog);
  Side side = PublishToOneself<RawTraffic>;
  if (what.kind == Kind::kProtobuf) {
    side = publish_ == Publish::kByPointer ? PublishToOneself<SharedNoteTraffic>
                                           : PublishToOneself<NoteTraffic>;
  }
  PinnedRun run;
  run.cpus = {cpus.first};
  run.deadline_ms = what.deadline_ms;
  run.samples_max = what.messages / kBatch + 1;
  run.roles = {[&](Stage& stage) {
    return side(stage, what, MemoryLog(log_memory_, "inline", what.messages));
  }};
  absl::StatusOr<RoundResult> result = RunPinned(run);
  if (result.ok()) result->messages_per_sample = kBatch;
  return result;
}

}  // namespace mycelium::bench
