// The part of NodeRuntime that says what it has counted, and what it knows of
// its links.
#include <limits>
#include <utility>

#include "mycelium/bus/node_runtime.h"

namespace mycelium {

std::vector<FlowReport> NodeRuntime::ReportsOf(
    const Subscription& subscription) const {
  std::vector<FlowReport> reports;
  for (const Subscription::FlowLedger& flow : subscription.Ledgers()) {
    FlowReport report;
    report.topic = flow.origin->topic;
    report.publisher_node = flow.origin->node;
    report.publisher_service = flow.origin->service;
    report.subscriber_node = node_;
    report.subscriber_service = subscription.options().service;
    report.subscription_name = subscription.options().name;
    report.transport = flow.origin->transport;
    report.ledger = flow.ledger;
    reports.push_back(std::move(report));
  }
  return reports;
}

std::vector<std::shared_ptr<Subscription>> NodeRuntime::SubscriptionsAndEnded()
    const {
  // In one step: a subscription that ends meanwhile is in one of the two lists.
  MutexLock lock(mutex_);
  std::vector<std::shared_ptr<Subscription>> all = dispatcher_->All();
  all.insert(all.end(), ended_subscriptions_.begin(),
             ended_subscriptions_.end());
  return all;
}

std::vector<FlowReport> NodeRuntime::FlowReports() const {
  if (is_inherited()) return {};
  FlowReportTable reports = router_->Reports();
  const auto fold = [&](const std::vector<FlowReport>& added) {
    for (const FlowReport& report : added) reports.Fold(report);
  };
  MutexLock lock(mutex_);
  for (const auto& subscription : dispatcher_->All()) {
    fold(ReportsOf(*subscription));
  }
  fold(dispatcher_->DepartedReports(node_));
  for (const auto& subscription : ended_subscriptions_) {
    fold(ReportsOf(*subscription));
  }
  fold(ended_reports_.reports());
  return std::move(reports).Release();
}

size_t NodeRuntime::EntryCount() {
  size_t count = router_->entry_count() + refusals_.entry_count();
  const absl::Status counted = OnLoop([&] {
    count += dispatcher_->entry_count();
    return absl::OkStatus();
  });
  if (!counted.ok()) return std::numeric_limits<size_t>::max();
  MutexLock lock(mutex_);
  return count + services_.size() + closing_.size() + on_error_.size() +
         on_publisher_gone_.size() + ended_subscriptions_.size();
}

std::vector<LinkReport> NodeRuntime::LinkReports() const {
  if (is_inherited()) return {};
  std::vector<LinkReport> reports;
  for (PeerTable::State& state : peers_->States()) {
    LinkReport report;
    report.peer = std::move(state.peer);
    report.transport = std::move(state.transport);
    report.address = std::move(state.address);
    report.rule = std::move(state.rule);
    report.is_up = state.is_up;
    report.last_error = std::move(state.last_error);
    report.fallback = std::move(state.fallback);
    reports.push_back(std::move(report));
  }
  return reports;
}

}  // namespace mycelium
