// The part of Router that says what there is, and what was counted.
#include <utility>

#include "mycelium/routing/router.h"

namespace mycelium {

FlowReport Router::Report(const Publisher& publisher, const Flow& flow) const {
  const Origin& origin = publisher.fan_out->origin();
  FlowReport report;
  report.topic = origin.topic;
  report.publisher_node = origin.node;
  report.publisher_service = origin.service;
  report.subscriber_node = flow.local != nullptr ? origin.node : flow.node;
  report.subscriber_service = flow.service;
  report.subscription_name = flow.name;
  report.transport =
      flow.local != nullptr ? "inproc" : std::string(flow.link->transport());
  report.ledger = flow.counters->Read();
  report.ledger.in_flight = InFlight(publisher, flow);
  return report;
}

std::vector<std::shared_ptr<FanOut>> Router::PublishersOf(
    const std::string& service) const {
  MutexLock lock(mutex_);
  std::vector<std::shared_ptr<FanOut>> found;
  for (const auto& [topic, publishers] : publishers_) {
    for (const auto& publisher : publishers) {
      if (publisher->closed) continue;
      if (publisher->fan_out->origin().service != service) continue;
      found.push_back(publisher->fan_out);
    }
  }
  return found;
}

std::vector<std::shared_ptr<Lane>> Router::LanesOf(
    const std::string& service) const {
  MutexLock lock(mutex_);
  std::vector<std::shared_ptr<Lane>> lanes;
  for (const auto& [topic, publishers] : publishers_) {
    for (const auto& publisher : publishers) {
      if (publisher->fan_out->origin().service != service) continue;
      for (const Flow& flow : publisher->flows) lanes.push_back(flow.lane);
    }
  }
  return lanes;
}

std::optional<FlowReport> Router::UnmatchedOf(const Publisher& publisher) {
  const Ledger unmatched = publisher.fan_out->unmatched();
  if (unmatched.accepted == 0) return std::nullopt;
  const Origin& origin = publisher.fan_out->origin();
  FlowReport report;
  report.topic = origin.topic;
  report.publisher_node = origin.node;
  report.publisher_service = origin.service;
  report.transport = "none";
  report.ledger = unmatched;
  return report;
}

FlowReportTable Router::Reports() const {
  MutexLock lock(mutex_);
  FlowReportTable reports = ended_;
  for (const auto& [topic, publishers] : publishers_) {
    for (const auto& publisher : publishers) {
      for (const Flow& flow : publisher->flows) {
        reports.Fold(Report(*publisher, flow));
      }
      if (const auto unmatched = UnmatchedOf(*publisher);
          unmatched.has_value()) {
        reports.Fold(*unmatched);
      }
    }
  }
  return reports;
}

size_t Router::entry_count() const {
  MutexLock lock(mutex_);
  size_t count = publishers_.size() + locals_.size() + lingering_.size() +
                 remotes_.size() + disconnected_.size();
  for (const auto& [topic, publishers] : publishers_) {
    for (const auto& publisher : publishers) count += publisher->flows.size();
    count += publishers.size();
  }
  for (const auto& [topic, locals] : locals_) count += locals.size();
  for (const auto& [link, shared] : shared_lanes_) {
    count += 1 + shared.left.size();
  }
  for (const auto& [serial, remote] : remotes_) {
    count += remote.lanes.size() + remote.refused_by.size() +
             remote.asked.size() + remote.told_of.size();
  }
  return count;
}

}  // namespace mycelium
