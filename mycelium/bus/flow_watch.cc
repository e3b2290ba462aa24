#include "mycelium/bus/flow_watch.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mycelium {

FlowWatch::FlowWatch(Environment& environment, EventLoop& loop,
                     std::function<std::vector<FlowReport>()> reports,
                     Callback callback, LogSink log)
    : environment_(environment),
      loop_(loop),
      reports_(std::move(reports)),
      callback_(std::move(callback)),
      log_(std::move(log)) {}

FlowWatch::~FlowWatch() { loop_.Cancel(timer_.load()); }

void FlowWatch::NoteDrop() {
  // Pairs with Look(). A read-modify-write, so that a drop that finds a look
  // due was counted before that look reads the counters.
  if (is_due_.exchange(true)) return;
  const TimeNs soon = environment_.clock.NowNs() + kSoonNs;
  timer_.store(
      loop_.RunAt(std::max(soon, not_before_.load()), [this] { Look(); }));
}

void FlowWatch::NoteStall(const std::string& lane) {
  {
    MutexLock lock(mutex_);
    stalled_.insert(lane);
  }
  NoteDrop();
}

void FlowWatch::Look() {
  not_before_.store(environment_.clock.NowNs() + kPauseNs);
  is_due_.exchange(false);  // What is counted from here on is told next time.
  std::set<std::string> stalled;
  {
    MutexLock lock(mutex_);
    stalled.swap(stalled_);
  }
  for (const std::string& lane : stalled) {
    log_(LogLevel::kWarning,
         absl::StrCat(lane,
                      ": a publisher waited for room in vain; until the "
                      "subscriber moves, who would wait no longer fails at "
                      "once"));
    if (callback_ == nullptr) continue;
    FlowEvent event;
    event.kind = FlowEvent::Kind::kStalled;
    event.lane = lane;
    callback_(event);
  }
  const std::vector<FlowReport> reports = reports_();
  ForgetFolded(reports);
  for (const FlowReport& flow : reports) TellOfDrops(flow);
}

void FlowWatch::ForgetFolded(const std::vector<FlowReport>& reports) {
  FlowReportTable present;
  for (const FlowReport& flow : reports) present.LedgerOf(flow);
  FlowReportTable told;
  // What was told of a flow that is no longer reported by itself counts as told
  // of the others.
  for (const FlowReport& flow : told_.reports()) {
    told.Fold(present.Has(flow) ? flow : FlowReportTable::OthersOf(flow));
  }
  told_ = std::move(told);
}

void FlowWatch::TellOfDrops(const FlowReport& flow) {
  if (flow.ledger.dropped_total() == 0) return;
  Ledger& told = told_.LedgerOf(flow);
  // The flow that was told of is over, and its drops were told; this one is
  // new.
  if (flow.ledger.dropped_total() < told.dropped_total()) told = Ledger();
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    if (flow.ledger.dropped[i] <= told.dropped[i]) continue;
    const uint64_t messages = flow.ledger.dropped[i] - told.dropped[i];
    const bool is_first = told.dropped[i] == 0;
    told.dropped[i] = flow.ledger.dropped[i];
    FlowEvent event;
    event.flow = flow;
    event.reason = static_cast<DropReason>(i);
    event.messages = messages;
    // To have no subscriber is no fault, and may be so for years.
    if (is_first || event.reason != DropReason::kNoSubscriber) LogDrop(event);
    if (callback_ != nullptr) callback_(event);
  }
}

void FlowWatch::LogDrop(const FlowEvent& event) const {
  const FlowReport& flow = event.flow;
  log_(LogLevel::kWarning,
       absl::StrCat(
           "topic \"", flow.topic, "\", ", flow.publisher_service, " -> ",
           flow.subscriber_service.empty() ? "nobody" : flow.subscriber_service,
           flow.subscription_name.empty() ? "" : "/", flow.subscription_name,
           " (", flow.transport, "): ", event.messages,
           " messages dropped: ", DropReasonWord(event.reason), "; ",
           flow.ledger.dropped_total(), " in all"));
}

}  // namespace mycelium
