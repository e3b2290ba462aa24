#include "mycelium/cli/ask_nodes.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/cli/node_query.h"

namespace mycelium {
namespace {

struct Asked {
  SeenNode* node;
  std::unique_ptr<NodeQuery> query;
};

// Takes the results of the queries that are done, and closes their connections.
void TakeResults(absl::Duration timeout, std::vector<Asked>* asked) {
  asked->erase(std::remove_if(asked->begin(), asked->end(),
                              [&](const Asked& one) {
                                if (!one.query->is_done()) return false;
                                *one.node = one.query->Result(timeout);
                                return true;
                              }),
               asked->end());
}

// Says more of a node that is not there.
void ExplainAbsence(const HostView& view, SeenNode* node) {
  if (node->state != NodeState::kNotRunning) return;
  if (absl::StartsWith(node->path, view.socket_dir + "/")) {
    absl::StrAppend(&node->why, view.WhyThere());
  }
  if (node->host.empty()) return;
  node->state = NodeState::kNotAsked;
  absl::StrAppend(&node->why, "; it is on host ", node->host, ": ask there");
}

}  // namespace

absl::Status AskNodes(Environment& environment, absl::Duration timeout,
                      HostView* view) {
  absl::StatusOr<std::unique_ptr<EventLoop>> loop =
      EventLoop::Create(environment);
  if (!loop.ok()) return loop.status();
  const TimeNs deadline = DeadlineAfter(environment.clock.NowNs(), timeout);
  std::vector<Asked> asked;
  const auto wait_until_left = [&](size_t count_max) {
    TakeResults(timeout, &asked);
    while (asked.size() > count_max && environment.clock.NowNs() < deadline) {
      (void)(*loop)->RunOnce(deadline, /*spin_ns=*/0);
      TakeResults(timeout, &asked);
    }
  };
  for (SeenNode& node : view->nodes) {
    if (node.state == NodeState::kNotAsked) continue;
    wait_until_left(kAskedAtOnceMax - 1);
    if (asked.size() < kAskedAtOnceMax) {
      asked.push_back(
          {&node, std::make_unique<NodeQuery>(environment, **loop, node)});
    } else {
      node.state = NodeState::kUnclear;
      node.why = absl::StrCat("it was not asked: ", asked.size(),
                              " others did not answer within ",
                              absl::FormatDuration(timeout));
    }
  }
  wait_until_left(0);
  for (const Asked& one : asked) *one.node = one.query->Result(timeout);
  for (SeenNode& node : view->nodes) ExplainAbsence(*view, &node);
  return absl::OkStatus();
}

}  // namespace mycelium
