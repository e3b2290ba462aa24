#include "mycelium/cli/host_view.h"

#include <algorithm>

namespace mycelium {
namespace {

// Whether `node` has a refusal of that topic at its publisher's or its
// subscriber's end, with `peer` at the other end.
bool HasRefusal(const SeenNode* node, bool of_publisher,
                absl::string_view topic, absl::string_view peer) {
  if (node == nullptr) return false;
  const auto& refusals = node->status.refusals();
  return std::any_of(refusals.begin(), refusals.end(),
                     [&](const auto& refusal) {
                       const std::string& other =
                           refusal.peer().empty() ? node->name : refusal.peer();
                       return refusal.of_publisher() == of_publisher &&
                              refusal.topic() == topic && other == peer;
                     });
}

}  // namespace

absl::string_view NodeStateWord(NodeState state) {
  switch (state) {
    case NodeState::kRunning:
      return "running";
    case NodeState::kNotRunning:
      return "not_running";
    case NodeState::kStale:
      return "stale";
    case NodeState::kStopped:
      return "stopped";
    case NodeState::kSilent:
      return "silent";
    case NodeState::kRefused:
      return "refused";
    case NodeState::kUnclear:
      return "unclear";
    case NodeState::kNotAsked:
      return "not_asked";
  }
  return "unknown";
}

absl::string_view HostView::WhyThere() const {
  return is_default_dir ? " (socket_dir is not given, so it depends on the "
                          "user and XDG_RUNTIME_DIR)"
                        : "";
}

const SeenNode* HostView::FindRunning(absl::string_view name) const {
  for (const SeenNode& node : nodes) {
    if (node.state == NodeState::kRunning && node.name == name) return &node;
  }
  return nullptr;
}

const v1::LinkStatus* SeenNode::LinkTo(absl::string_view peer) const {
  for (const v1::LinkStatus& link : status.links()) {
    if (link.peer() == peer) return &link;
  }
  return nullptr;
}

bool HostView::SubscriberIsRefused(absl::string_view topic,
                                   absl::string_view publisher,
                                   absl::string_view subscriber) const {
  return HasRefusal(FindRunning(subscriber), /*of_publisher=*/false, topic,
                    publisher);
}

bool HostView::IsRefused(absl::string_view topic, absl::string_view publisher,
                         absl::string_view subscriber) const {
  return SubscriberIsRefused(topic, publisher, subscriber) ||
         HasRefusal(FindRunning(publisher), /*of_publisher=*/true, topic,
                    subscriber);
}

}  // namespace mycelium
