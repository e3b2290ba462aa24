#include "mycelium/cli/topic_diagnosis.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/cli/words.h"

namespace mycelium {
namespace {

using PublishingEnd = std::pair<const SeenNode*, const v1::PublisherStatus*>;
using SubscribedEnd = std::pair<const SeenNode*, const v1::SubscriptionStatus*>;

// The ends of one topic on all nodes.
struct Topic {
  std::vector<PublishingEnd> publishers;
  std::vector<SubscribedEnd> subscriptions;
};

std::map<std::string, Topic> TopicsOf(const HostView& view) {
  std::map<std::string, Topic> topics;
  for (const SeenNode& node : view.nodes) {
    for (const auto& publisher : node.status.publishers()) {
      topics[publisher.topic()].publishers.push_back({&node, &publisher});
    }
    for (const auto& subscription : node.status.subscriptions()) {
      topics[subscription.topic()].subscriptions.push_back(
          {&node, &subscription});
    }
  }
  return topics;
}

// For two ends of one topic.
bool Matches(const v1::PublisherStatus& publisher,
             const v1::SubscriptionStatus& subscription) {
  return publisher.target_service().empty() ||
         publisher.target_service() == subscription.service();
}

// Whether the two ends are joined, or may be.
bool HasFlow(const PublishingEnd& from, const SubscribedEnd& to) {
  const auto& [node, publisher] = from;
  const auto& flows = node->status.flows();
  return node->status.flows_left_out() > 0 ||
         std::any_of(flows.begin(), flows.end(), [&](const auto& flow) {
           return flow.topic() == publisher->topic() &&
                  flow.publisher_node() == node->name &&
                  flow.publisher_service() == publisher->service() &&
                  flow.subscriber_node() == to.first->name &&
                  flow.subscriber_service() == to.second->service();
         });
}

void AddPairProblem(const HostView& view, const PublishingEnd& from,
                    const SubscribedEnd& to, std::vector<Problem>* problems) {
  const auto& [feeding, publisher] = from;
  const auto& [fed, subscription] = to;
  if (feeding->name == fed->name || HasFlow(from, to) ||
      view.IsRefused(publisher->topic(), feeding->name, fed->name)) {
    return;
  }
  const std::string what = absl::StrCat(
      "topic \"", publisher->topic(),
      "\": ", ServiceOf(publisher->service(), feeding->name),
      " publishes it and ", ServiceOf(subscription->service(), fed->name),
      " is subscribed, but ");
  const v1::LinkStatus* const link = feeding->LinkTo(fed->name);
  if (link == nullptr && fed->LinkTo(feeding->name) == nullptr) {
    AddProblem({"no_link", feeding->name, fed->name, publisher->topic(),
                absl::StrCat(what,
                             "their nodes have no link: neither dials "
                             "the other")},
               problems);
  } else if (link != nullptr && link->is_up()) {
    AddProblem({"not_matched", feeding->name, fed->name, publisher->topic(),
                absl::StrCat(what, "they are not matched, ",
                             ForPeople(link->state_for_ms()),
                             " after their nodes were connected")},
               problems);
  }
}

// Adds each subscription that the publisher should reach and does not, or that
// there is none.
void AddPublisherProblems(const HostView& view, const Topic& topic,
                          const PublishingEnd& from,
                          std::vector<Problem>* problems) {
  const auto& [node, publisher] = from;
  bool has_other_end = publisher->subscribers() > 0;
  for (const SubscribedEnd& to : topic.subscriptions) {
    if (!Matches(*publisher, *to.second)) continue;
    has_other_end = true;
    AddPairProblem(view, from, to, problems);
  }
  if (has_other_end) return;
  AddProblem({"nobody_subscribes", node->name, "", publisher->topic(),
              absl::StrCat("topic \"", publisher->topic(),
                           "\": ", ServiceOf(publisher->service(), node->name),
                           " publishes it",
                           publisher->target_service().empty()
                               ? ""
                               : " to service " + publisher->target_service(),
                           ", and nobody that was seen is subscribed")},
             problems);
}

// Whether there is a publisher on the nodes that answered, or on one that did
// not and that this node is connected to.
bool HasPublisher(const HostView& view, const Topic& topic,
                  const SubscribedEnd& to) {
  const auto& [node, subscription] = to;
  for (const PublishingEnd& from : topic.publishers) {
    if (Matches(*from.second, *subscription)) return true;
  }
  for (const SeenNode& other : view.nodes) {
    if (other.status.publishers_left_out() > 0) return true;
  }
  if (node->status.flows_left_out() > 0) return true;
  for (const v1::FlowStatus& flow : node->status.flows()) {
    if (flow.topic() != subscription->topic() ||
        flow.subscriber_service() != subscription->service() ||
        flow.subscriber_node() != node->name) {
      continue;
    }
    const v1::LinkStatus* const link = node->LinkTo(flow.publisher_node());
    if (view.FindRunning(flow.publisher_node()) == nullptr && link != nullptr &&
        link->is_up()) {
      return true;
    }
  }
  const auto& refusals = node->status.refusals();
  return std::any_of(refusals.begin(), refusals.end(),
                     [&, subscribed = subscription](const auto& refusal) {
                       return refusal.topic() == subscribed->topic() &&
                              refusal.service() == subscribed->service();
                     });
}

}  // namespace

void AddTopicProblems(const HostView& view, std::vector<Problem>* problems) {
  const std::map<std::string, Topic> topics = TopicsOf(view);
  for (const auto& [name, topic] : topics) {
    for (const PublishingEnd& from : topic.publishers) {
      AddPublisherProblems(view, topic, from, problems);
    }
    for (const SubscribedEnd& to : topic.subscriptions) {
      if (HasPublisher(view, topic, to)) continue;
      AddProblem(
          {"nobody_publishes", to.first->name, "", name,
           absl::StrCat("topic \"", name,
                        "\": ", ServiceOf(to.second->service(), to.first->name),
                        " is subscribed, and nobody that was seen publishes "
                        "it")},
          problems);
    }
  }
}

}  // namespace mycelium
