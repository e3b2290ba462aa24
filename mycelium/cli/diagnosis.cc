#include "mycelium/cli/diagnosis.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mycelium/cli/topic_diagnosis.h"
#include "mycelium/cli/words.h"

namespace mycelium {
namespace {

bool IsGone(const SeenNode& node) {
  return node.state == NodeState::kNotRunning ||
         node.state == NodeState::kStale;
}

// The nodes whose link to `gone` is down, which needs no other reason.
std::string WhoWaitsFor(const HostView& view, const SeenNode& gone) {
  std::vector<std::string> names;
  for (const SeenNode& node : view.nodes) {
    const v1::LinkStatus* const link = node.LinkTo(gone.name);
    if (link != nullptr && !link->is_up()) names.push_back(node.name);
  }
  return absl::StrJoin(names, ", ");
}

void AddNodeProblem(const HostView& view, const SeenNode& node,
                    std::vector<Problem>* problems) {
  if (node.state == NodeState::kRunning || node.state == NodeState::kNotAsked) {
    return;
  }
  std::string text = absl::StrCat(
      "node ", node.name,
      IsGone(node) ? " is not running: " : " does not answer: ", node.why);
  if (IsGone(node)) {
    const std::string waiting = WhoWaitsFor(view, node);
    if (!waiting.empty()) absl::StrAppend(&text, "; waiting for it: ", waiting);
  }
  AddProblem({std::string(NodeStateWord(node.state)), node.name, "", "", text},
             problems);
}

// Both ends know of a difference. The subscriber's words are shown, unless
// nothing was heard of its end.
void AddRefusals(const HostView& view, const SeenNode& node,
                 std::vector<Problem>* problems) {
  for (const v1::RefusalStatus& refusal : node.status.refusals()) {
    const std::string& peer = refusal.peer();
    const std::string who = ServiceOf(refusal.service(), node.name);
    std::string text;
    if (refusal.of_publisher()) {
      if (view.SubscriberIsRefused(refusal.topic(), node.name,
                                   peer.empty() ? node.name : peer)) {
        continue;
      }
      text = absl::StrCat(who, " is not heard: ", refusal.why());
    } else {
      text = absl::StrCat(who, " gets nothing from ",
                          peer.empty() ? "another service of its process"
                                       : absl::StrCat("node ", peer),
                          ": ", refusal.why());
    }
    AddProblem({"refused_subscription", node.name, peer, refusal.topic(), text},
               problems);
  }
}

std::string LinkText(const SeenNode& node, const v1::LinkStatus& link) {
  std::string text = absl::StrCat(
      "link of node ", node.name, " to ",
      link.peer().empty() ? "whoever listens" : "node " + link.peer());
  if (!link.address().empty()) absl::StrAppend(&text, " at ", link.address());
  absl::StrAppend(&text, " (", link.transport(), ") is not up, ", link.state(),
                  " for ", ForPeople(link.state_for_ms()));
  if (!link.last_error().empty()) {
    absl::StrAppend(&text, ": ", link.last_error());
  }
  return text;
}

// Two nodes have one link. If both ends say that it is down, the first one that
// knows why is shown.
void AddLinkProblems(const HostView& view, std::vector<Problem>* problems) {
  struct Known {
    size_t problem;
    bool has_reason;
  };
  std::map<std::pair<std::string, std::string>, Known> known;
  const auto is_gone = [&](const std::string& name) {
    return std::any_of(view.nodes.begin(), view.nodes.end(),
                       [&](const SeenNode& node) {
                         return node.name == name && IsGone(node);
                       });
  };
  for (const SeenNode& node : view.nodes) {
    for (const v1::LinkStatus& link : node.status.links()) {
      if (link.is_up() || is_gone(link.peer())) continue;
      Problem problem = {"link_down", node.name, link.peer(), "",
                         LinkText(node, link)};
      if (link.peer().empty()) {
        AddProblem(std::move(problem), problems);
        continue;
      }
      const bool has_reason = !link.last_error().empty();
      const auto [entry, is_new] =
          known.try_emplace(std::minmax(node.name, link.peer()),
                            Known{problems->size(), has_reason});
      if (is_new) {
        problems->push_back(std::move(problem));
      } else if (has_reason && !entry->second.has_reason) {
        (*problems)[entry->second.problem] = std::move(problem);
        entry->second.has_reason = true;
      }
    }
  }
}

// If no node answered, it cannot be said that all is well.
void AddNobodyAsked(const HostView& view, std::vector<Problem>* problems) {
  std::vector<std::string> names;
  for (const SeenNode& node : view.nodes) {
    if (node.state == NodeState::kRunning && node.in_topology) return;
    if (node.state == NodeState::kNotAsked) names.push_back(node.name);
  }
  if (names.empty()) return;
  AddProblem({"nobody_asked", "", "", "",
              absl::StrCat("no node of this file could be asked on this host: ",
                           absl::StrJoin(names, ", "),
                           "; start one, or ask on the host where it runs; one "
                           "without a peer on its host can be asked if the "
                           "file gives it endpoint = { kind = \"shm\" }")},
             problems);
}

}  // namespace

std::vector<Problem> Diagnose(const HostView& view) {
  std::vector<Problem> problems;
  if (view.nodes.empty() && view.left_out.empty()) {
    AddProblem({"no_nodes", "", "", "",
                absl::StrCat("no node runs: there is no socket in ",
                             view.socket_dir, view.WhyThere())},
               &problems);
  }
  if (!view.left_out.empty()) {
    AddProblem({"not_all_asked", "", "", "",
                absl::StrCat("not everybody in ", view.socket_dir,
                             " was asked: ", view.left_out,
                             "; name those that are meant with --node")},
               &problems);
  }
  for (const SeenNode& node : view.nodes) {
    AddNodeProblem(view, node, &problems);
  }
  for (const SeenNode& node : view.nodes) AddRefusals(view, node, &problems);
  AddLinkProblems(view, &problems);
  AddTopicProblems(view, &problems);
  if (problems.empty()) AddNobodyAsked(view, &problems);
  return problems;
}

}  // namespace mycelium
