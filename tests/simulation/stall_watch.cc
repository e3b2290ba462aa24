#include "tests/simulation/stall_watch.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace mycelium::test {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kBetweenLooksNs = 20 * kMs;

}  // namespace

void StallWatch::Look() {
  const int64_t passed_ns = world_.now() - looked_at_;
  if (passed_ns < kBetweenLooksNs) return;
  looked_at_ = world_.now();
  well_now_.clear();
  for (const auto& node : nodes_) {
    well_now_.push_back(node->is_open() && !node->stopped() && !node->slow());
  }
  if (well_.empty()) well_.assign(nodes_.size(), false);
  LookAtFlows(passed_ns);
  LookAtMatches(passed_ns);
  well_ = well_now_;
}

void StallWatch::LookAtFlows(int64_t passed_ns) {
  for (const auto& node : nodes_) {
    if (!well_now_[static_cast<size_t>(node->place())]) continue;
    for (const FlowReport& report : node->Reports()) {
      const int other = PlaceOf(report.subscriber_node);
      if (report.publisher_node != node->plan().name || other < 0) continue;
      const FlowKey key = {node->place(),
                           node->incarnation(),
                           report.topic,
                           report.publisher_service,
                           report.subscriber_service,
                           report.subscription_name};
      if (report.ledger.in_flight == 0) {
        flows_.erase(key);
        continue;
      }
      Standing& standing = flows_[key];
      const uint64_t progress =
          report.ledger.accepted - report.ledger.in_flight;
      if (progress != standing.progress) standing.well_ns = 0;
      standing.progress = progress;
      if (AreWell(node->place(), other) && Add(standing, passed_ns)) {
        book_.Fail(absl::StrCat(
            "stall: ", report.publisher_service, " -> ",
            report.subscriber_service, "/", report.subscription_name, " \"",
            report.topic, "\": ", report.ledger.in_flight,
            " in flight, and none moved in ", standing.well_ns / kMs, " ms"));
      }
    }
  }
}

void StallWatch::LookAtMatches(int64_t passed_ns) {
  for (const auto& node : nodes_) {
    for (const LedgerBook::PublisherLife life : node->publishers()) {
      const LedgerBook::Publisher& publisher = book_.publishers()[life];
      size_t matching = 0;
      bool well = true;
      for (const auto& other : nodes_) {
        well = well && AreWell(node->place(), other->place());
        for (const auto to : other->subscriptions()) {
          matching += publisher.Matches(book_.subscriptions()[to]) ? 1 : 0;
        }
      }
      Standing& standing = matches_[life];
      const size_t reached = node->is_open() ? node->SubscriberCount(life) : 0;
      if (reached == matching) standing.well_ns = 0;
      if (reached == matching || !well || !Add(standing, passed_ns)) continue;
      book_.Fail(absl::StrCat(
          "stall: ", publisher.service, " \"", publisher.topic, "\" reaches ",
          reached, " of ", matching, " for ", standing.well_ns / kMs, " ms"));
    }
  }
}

bool StallWatch::Add(Standing& standing, int64_t passed_ns) {
  const bool was_long = standing.well_ns > kLongestNs;
  // A flow that began between two looks has not stood since the first look.
  if (standing.seen_at == looked_at_ - passed_ns) standing.well_ns += passed_ns;
  standing.seen_at = looked_at_;
  longest_ns_ = std::max(longest_ns_, standing.well_ns);
  return !was_long && standing.well_ns > kLongestNs;
}

bool StallWatch::AreWell(int place, int other) const {
  const auto is_well = [this](int one) {
    return well_[static_cast<size_t>(one)] &&
           well_now_[static_cast<size_t>(one)];
  };
  return is_well(place) && is_well(other) &&
         (place == other || !world_.kernel().IsPartitioned(place, other));
}

int StallWatch::PlaceOf(const std::string& node) const {
  for (const auto& one : nodes_) {
    if (one->plan().name == node) return one->place();
  }
  return -1;
}

}  // namespace mycelium::test
