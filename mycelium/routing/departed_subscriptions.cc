#include "mycelium/routing/departed_subscriptions.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace mycelium {
namespace {

// How many subscriptions are remembered whose last messages may still come.
constexpr size_t kDepartedMax = 4096;

}  // namespace

void DepartedSubscriptions::Add(const Subscription& subscription) {
  MutexLock lock(mutex_);
  Departed& added = departed_[subscription.options().id];
  added.service = subscription.options().service;
  added.name = subscription.options().name;
  if (departed_.size() <= kDepartedMax) return;
  // From the oldest, whose end peers have long heard of; ids rise.
  for (auto old = departed_.begin(); old != departed_.end(); ++old) {
    const auto& flows = old->second.flows;
    // Matches of links may still count for this one.
    if (std::any_of(flows.begin(), flows.end(), [](const auto& flow) {
          return flow.second.use_count() > 1;
        })) {
      continue;
    }
    Report(old->second, &forgotten_);
    departed_.erase(old);
    return;
  }
}

std::shared_ptr<FlowCounters> DepartedSubscriptions::FlowFrom(
    uint32_t subscription, const std::shared_ptr<const Origin>& origin) {
  MutexLock lock(mutex_);
  const auto known = departed_.find(subscription);
  const bool is_known = known != departed_.end();
  if (!is_known && unknown_.flows.size() >= before_look_) FoldUnknown();
  Departed& departed = is_known ? known->second : unknown_;
  std::shared_ptr<FlowCounters>& flow = departed.flows[origin];
  if (flow == nullptr) flow = std::make_shared<FlowCounters>();
  return flow;
}

void DepartedSubscriptions::FoldUnknown() {
  Departed over;
  for (auto next = unknown_.flows.begin(); next != unknown_.flows.end();) {
    const auto flow = next++;
    if (flow->second.use_count() > 1) continue;
    over.flows.insert(unknown_.flows.extract(flow));
  }
  Report(over, &forgotten_);
  // Each look is paid for by as many flows that came since the last one.
  before_look_ = std::max(kBeforeLookMin, 2 * unknown_.flows.size());
}

void DepartedSubscriptions::CountRefused(const Link& link) {
  FlowReport report;
  report.publisher_node = link.peer();
  report.transport = std::string(link.transport());
  report.ledger.dropped[static_cast<size_t>(DropReason::kRefused)] = 1;
  MutexLock lock(mutex_);
  forgotten_.FoldEnded(report);
}

void DepartedSubscriptions::Report(const Departed& departed,
                                   FlowReportTable* reports) {
  for (const auto& [origin, flow] : departed.flows) {
    FlowReport report;
    report.topic = origin->topic;
    report.publisher_node = origin->node;
    report.publisher_service = origin->service;
    report.subscriber_service = departed.service;
    report.subscription_name = departed.name;
    report.transport = origin->transport;
    report.ledger = flow->Read();
    reports->FoldEnded(report);
  }
}

std::vector<FlowReport> DepartedSubscriptions::Reports() const {
  MutexLock lock(mutex_);
  FlowReportTable all = forgotten_;
  Report(unknown_, &all);
  for (const auto& [id, departed] : departed_) Report(departed, &all);
  return std::move(all).Release();
}

}  // namespace mycelium
