#include "tests/simulation/simulation.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "mycelium/testing/simulated_world.h"
#include "tests/simulation/fault_schedule.h"
#include "tests/simulation/ledger_book.h"
#include "tests/simulation/scenario.h"
#include "tests/simulation/simulated_node.h"
#include "tests/simulation/stall_watch.h"

namespace mycelium::test {
namespace {

constexpr int64_t kMs = 1'000'000;
// How long a world may take, without faults, to come to rest, to bring a
// message to every subscription, and to part. Far more than any timeout in it.
constexpr int64_t kRestNs = 20'000 * kMs;
// How long the faults go on at most.
constexpr int64_t kTroubleNs = 60'000 * kMs;
// After this time every announcement has arrived.
constexpr int64_t kHeardNs = 100 * kMs;
// Turns in a row without time passing.
constexpr int kTurnsMax = 20'000;

class Simulation final {
 public:
  Simulation(uint64_t seed, bool print)
      : scenario_(MakeScenario(seed)), world_(seed) {
    if (print) {
      world_.trace().PrintTo([](absl::string_view line) {
        std::printf("%s\n", std::string(line).c_str());
      });
      std::printf("%s%s", scenario_.TopologyText(0).c_str(),
                  scenario_.PlanText().c_str());
    }
    for (size_t i = 0; i < scenario_.nodes.size(); ++i) {
      nodes_.push_back(std::make_unique<SimulatedNode>(
          world_, book_, scenario_, static_cast<int>(i), mode_));
    }
  }

  SimulationResult Run() {
    FaultSchedule faults(world_, scenario_, nodes_);
    RunUntil("trouble ends", kTroubleNs, &faults, [&] {
      return faults.done() && world_.trace().happenings() >= kEventsMin;
    });
    if (!book_.violations().empty()) return Result();
    faults.Stop();
    Remark("no more faults");
    mode_ = SimulatedNode::Mode::kDrain;
    if (!RunUntil("everything drains", kRestNs, nullptr, [&] {
          faults.Revive();
          return AllOpen() && IsAtRest();
        })) {
      DescribeUnrest();
      return Result();
    }
    // A publisher may know of a subscription that has ended, and not yet of a
    // new one: the number is the same, but the subscriptions differ.
    TimeNs matched_since = world_.now();
    if (!RunUntil("everybody knows everybody", kRestNs, nullptr, [&] {
          if (!AllMatched()) matched_since = world_.now();
          return world_.now() - matched_since >= kHeardNs;
        })) {
      DescribeUnmatched();
      return Result();
    }
    Remark("probes");
    for (const auto& node : nodes_) node->AskToProbe();
    if (!RunUntil("a message more comes to all", kRestNs, nullptr,
                  [&] { return AllHaveLast(); })) {
      DescribeMissing();
      return Result();
    }
    Remark("leaves");
    for (const auto& node : nodes_) node->AskToLeave();
    if (RunUntil("all leave", kRestNs, nullptr, [&] {
          for (const auto& node : nodes_) node->Reap();
          return std::none_of(nodes_.begin(), nodes_.end(),
                              [](const auto& node) { return node->running(); });
        })) {
      book_.CheckLedger();
    }
    return Result();
  }

 private:
  void Remark(absl::string_view text) {
    world_.trace().Remark(absl::StrCat("--- ", text));
  }

  // Runs until `done`, which is asked now and then. Returns false, and adds a
  // violation, if that takes longer than `longest_ns`.
  bool RunUntil(absl::string_view what, int64_t longest_ns,
                FaultSchedule* faults, absl::FunctionRef<bool()> done) {
    const TimeNs start = world_.now();
    TimeNs look_at = 0;
    TimeNs last = -1;
    int turns = 0;
    while (true) {
      if (faults != nullptr) faults->RunDue();
      if (world_.now() >= look_at) {
        if (faults != nullptr) stalls_.Look();
        if (done()) return true;
        look_at = world_.now() + 5 * kMs;
      }
      if (world_.now() >= start + longest_ns) {
        book_.Fail(absl::StrCat("stall: not within ", longest_ns / kMs,
                                " ms: ", what));
        return false;
      }
      const TimeNs next = faults == nullptr ? kNever : faults->next();
      (void)world_.Step(std::min(look_at, next));
      turns = world_.now() == last ? turns + 1 : 0;
      last = world_.now();
      if (turns > kTurnsMax) {
        book_.Fail(absl::StrCat("time stands still until ", what));
        return false;
      }
      if (book_.violations().size() > 20) return false;
    }
  }

  bool AllOpen() const {
    return std::all_of(nodes_.begin(), nodes_.end(),
                       [](const auto& node) { return node->is_open(); });
  }

  bool IsAtRest() const {
    for (const auto& node : nodes_) {
      for (const FlowReport& report : node->Reports()) {
        if (report.ledger.in_flight > 0) return false;
      }
    }
    return true;
  }

  // Whether every publisher knows every subscription.
  bool AllMatched() const {
    std::map<LedgerBook::PublisherLife, size_t> matches;
    ForEachMatch(
        [&](const SimulatedNode&, auto from, auto) { ++matches[from]; });
    return std::all_of(nodes_.begin(), nodes_.end(), [&](const auto& node) {
      for (const auto life : node->publishers()) {
        if (node->SubscriberCount(life) != matches[life]) return false;
      }
      return true;
    });
  }

  void DescribeUnmatched() {
    std::map<LedgerBook::PublisherLife, size_t> matches;
    ForEachMatch(
        [&](const SimulatedNode&, auto from, auto) { ++matches[from]; });
    for (const auto& node : nodes_) {
      for (const auto life : node->publishers()) {
        const size_t reached = node->SubscriberCount(life);
        if (reached == matches[life]) continue;
        const LedgerBook::Publisher& publisher = book_.publishers()[life];
        book_.Fail(absl::StrCat("  ", publisher.service, " \"", publisher.topic,
                                "\" ", publisher.target, " reaches ", reached,
                                " of ", matches[life]));
      }
    }
  }

  void DescribeUnrest() {
    for (const auto& node : nodes_) {
      for (const FlowReport& report : node->Reports()) {
        if (report.ledger.in_flight == 0) continue;
        book_.Fail(absl::StrCat("  in flight: ", report.publisher_service,
                                " -> ", report.subscriber_service, "/",
                                report.subscription_name, " \"", report.topic,
                                "\" ", report.ledger.in_flight));
      }
    }
  }

  template <typename Visit>
  void ForEachMatch(Visit visit) const {
    for (const auto& node : nodes_) {
      for (const auto from : node->publishers()) {
        const LedgerBook::Publisher& publisher = book_.publishers()[from];
        for (const auto& other : nodes_) {
          for (const auto to : other->subscriptions()) {
            if (publisher.Matches(book_.subscriptions()[to])) {
              visit(*node, from, to);
            }
          }
        }
      }
    }
  }

  bool AllHaveLast() const {
    bool all = true;
    ForEachMatch([&](const SimulatedNode& node, auto from, auto to) {
      all = all && node.has_probed(from) &&
            (book_.subscriptions()[to].lossy || book_.HasLast(to, from));
    });
    return all;
  }

  void DescribeMissing() {
    ForEachMatch([&](const SimulatedNode& node, auto from, auto to) {
      if (node.has_probed(from) && book_.HasLast(to, from)) return;
      const auto& publisher = book_.publishers()[from];
      const auto& subscription = book_.subscriptions()[to];
      book_.Fail(absl::StrCat(
          "  not yet: ", publisher.service, " -> ", subscription.service, "/",
          subscription.name, " \"", publisher.topic, "\" message ",
          publisher.accepted, node.has_probed(from) ? "" : ", not accepted"));
    });
  }

  SimulationResult Result() {
    SimulationResult result;
    result.seed = scenario_.seed;
    result.hash = world_.trace().hash();
    result.events = world_.trace().events();
    result.happenings = world_.trace().happenings();
    result.virtual_ms = world_.now() / kMs;
    for (size_t i = 0; i < Trace::kKinds; ++i) {
      result.counts[i] = world_.trace().count(static_cast<Happening>(i));
    }
    for (const PlannedNode& node : scenario_.nodes) {
      for (const PlannedSubscription& subscription : node.subscriptions) {
        ++result.policies[subscription.overflow.value_or(scenario_.overflow)];
      }
    }
    result.flows = book_.flows();
    result.strict_flows = book_.strict_flows();
    result.longest_stand_ms = stalls_.longest_ns() / kMs;
    result.violations = book_.violations();
    return result;
  }

  const Scenario scenario_;
  SimulatedWorld world_;
  LedgerBook book_;
  SimulatedNode::Mode mode_ = SimulatedNode::Mode::kBusy;
  FaultSchedule::Nodes nodes_;
  StallWatch stalls_{world_, nodes_, book_};
};

}  // namespace

const std::vector<Happening>& FaultKinds() {
  static const auto* const kinds = new std::vector<Happening>{
      Happening::kRefuse,       Happening::kDelay,
      Happening::kShortWrite,   Happening::kShortRead,
      Happening::kWouldBlock,   Happening::kInterrupt,
      Happening::kCut,          Happening::kPartition,
      Happening::kHeal,         Happening::kPublishFails,
      Happening::kReturnInTime, Happening::kReturnLate,
      Happening::kCrash,        Happening::kLeave,
      Happening::kStop,         Happening::kContinue,
      Happening::kSlow,         Happening::kUnsubscribe,
      Happening::kDrift,        Happening::kVersion,
      Happening::kDisconnect,   Happening::kGather,
      Happening::kBatchFull,
  };
  return *kinds;
}

SimulationResult Simulate(uint64_t seed, bool print) {
  return Simulation(seed, print).Run();
}

std::string Describe(const SimulationResult& result) {
  std::string text = absl::StrCat(
      "seed ", result.seed, ": ", result.ok() ? "ok" : "FAILED", ", trace ",
      absl::Hex(result.hash, absl::kZeroPad16), ", ", result.happenings,
      " events in ", result.virtual_ms, " ms, flows ", result.flows,
      ", without loss ", result.strict_flows, ", stood at most ",
      result.longest_stand_ms, " ms");
  for (size_t i = 0; i < Trace::kKinds; ++i) {
    const auto kind = static_cast<Happening>(i);
    if (kind == Happening::kTurn || kind == Happening::kTimePasses) continue;
    absl::StrAppend(&text, ", ", WordOf(kind), " ", result.counts[i]);
  }
  for (const auto& [policy, subscriptions] : result.policies) {
    absl::StrAppend(&text, ", of ", WordOf(policy), " ", subscriptions);
  }
  for (const std::string& violation : result.violations) {
    absl::StrAppend(&text, "\n  ", violation);
  }
  return text;
}

}  // namespace mycelium::test
