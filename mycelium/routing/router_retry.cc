// The part of Router that is about what a match lacks for the time being: a
// lane, or room among those that the peer remembers. It is tried again.
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/routing/link_bounds.h"
#include "mycelium/routing/router.h"

namespace mycelium {

absl::Status Router::CheckRoom(const Publisher& publisher,
                               const Remote& remote) const {
  const auto flows = publisher.flows_on.find(remote.link);
  if (flows != publisher.flows_on.end()) {
    if (flows->second < kPublisherMatchesMax) return absl::OkStatus();
    return absl::ResourceExhaustedError(absl::StrCat(
        "link to ", remote.link->peer(), ": a publisher of \"",
        remote.subscribe.topic(), "\" has ", kPublisherMatchesMax,
        " subscriptions there already, which is the most; those that have "
        "ended count until their messages are handled"));
  }
  const auto publishers = publishers_on_.find(remote.link);
  if (publishers == publishers_on_.end() ||
      publishers->second < kLinkPublishersMax) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "link to ", remote.link->peer(), ": a publisher of \"",
      remote.subscribe.topic(), "\" is not matched: there are ",
      kLinkPublishersMax,
      " already, which is the most; those that have ended count until their "
      "messages are handled"));
}

void Router::AwaitRetry(Publisher& publisher, Remote& remote,
                        const absl::Status& status, Deferred* deferred) {
  publisher.refusals.push_back(status);
  publisher.awaits_explanation = publisher.lacks = true;
  if (remote.lacks.empty() && !remote.is_orphan) {
    remote.lacks = std::string(status.message());
    SendLacks(remote);
  }
  if (std::exchange(remote.lacked_in, retry_round_) + 1 < retry_round_) {
    deferred->push_back([this, status] { callbacks_.on_refusal(status); });
  }
  if (!std::exchange(retry_is_due_, true)) {
    deferred->push_back([this] { callbacks_.retry_later(); });
  }
}

void Router::SendLacks(const Remote& remote) {
  v1::Control control;
  v1::SubscribeRefused& refused = *control.mutable_subscribe_refused();
  refused.set_subscription(remote.subscribe.subscription());
  refused.set_publisher(kAllPublishers);
  refused.set_reason(remote.lacks);
  refused.set_over(remote.lacks.empty());
  remote.link->SendControl(control);
}

void Router::RetryLanes() {
  Deferred deferred;
  {
    MutexLock lock(mutex_);
    retry_is_due_ = false;
    ++retry_round_;
    for (auto entry = publishers_.begin(); entry != publishers_.end();) {
      const std::string topic = entry->first;
      ++entry;  // What is forgotten may be all of them.
      ForgetClosed(topic);
      for (const auto& publisher : PublishersTo(topic)) {
        if (publisher->lacks) RematchPublisher(*publisher, &deferred);
      }
    }
    for (auto& [serial, remote] : remotes_) {
      if (remote.lacks.empty() || remote.lacked_in == retry_round_) continue;
      remote.lacks.clear();
      SendLacks(remote);
    }
  }
  RunDeferred(&deferred);
}

}  // namespace mycelium
