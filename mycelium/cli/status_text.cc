#include "mycelium/cli/status_text.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mycelium/base/harmless.h"
#include "mycelium/cli/flow_table_text.h"
#include "mycelium/cli/words.h"

namespace mycelium {
namespace {

// "a, b (2), c", or nothing.
template <typename Entries, typename TextOf>
std::string Listed(const Entries& entries, TextOf text_of) {
  std::vector<std::pair<std::string, int>> counted;
  for (const auto& entry : entries) {
    const std::string text = text_of(entry);
    const auto known =
        std::find_if(counted.begin(), counted.end(),
                     [&](const auto& one) { return one.first == text; });
    if (known != counted.end()) {
      ++known->second;
    } else {
      counted.emplace_back(text, 1);
    }
  }
  return absl::StrJoin(counted, ", ", [](std::string* out, const auto& one) {
    absl::StrAppend(out, one.first,
                    one.second == 1 ? "" : absl::StrCat(" (", one.second, ")"));
  });
}

void AddLine(absl::string_view what, const std::string& text, uint64_t left_out,
             std::string* out) {
  if (text.empty() && left_out == 0) return;
  absl::StrAppend(out, "  ", what, ": ", Harmless(text));
  if (left_out > 0) {
    absl::StrAppend(out, text.empty() ? "" : ", ", left_out, " more");
  }
  absl::StrAppend(out, "\n");
}

std::string LinkText(const v1::LinkStatus& link) {
  std::string text = absl::StrCat(
      link.peer().empty() ? "?" : link.peer(), " over ", link.transport(), ", ",
      link.state(), " for ", ForPeople(link.state_for_ms()));
  if (!link.address().empty()) {
    absl::StrAppend(&text, ", dialled at ", link.address());
  }
  if (!link.last_error().empty()) {
    absl::StrAppend(&text, ": ", link.last_error());
  }
  if (!link.fallback().empty()) {
    absl::StrAppend(&text, "; not in shared memory: ", link.fallback());
  }
  return text;
}

void AddLinks(const v1::NodeStatus& status, std::string* out) {
  if (status.links().empty()) {
    AddLine("links", "none", status.links_left_out(), out);
    return;
  }
  absl::StrAppend(out, "  links:\n");
  for (const v1::LinkStatus& link : status.links()) {
    absl::StrAppend(out, "    ", Harmless(LinkText(link)), "\n");
  }
  if (status.links_left_out() > 0) {
    absl::StrAppend(out, "    ", status.links_left_out(), " more\n");
  }
}

// The pid that the kernel says, and not the one that the node says.
std::string PidText(const SeenNode& node) {
  return node.pid > 0 ? absl::StrCat("pid ", node.pid)
                      : "in another pid namespace";
}

void AddRunning(const HostView& view, const SeenNode& node, std::string* out) {
  const v1::NodeStatus& status = node.status;
  absl::StrAppend(out, Harmless(node.name), ": running, ", PidText(node),
                  ", mycelium ", Harmless(status.version()), ", up ",
                  ForPeople(status.up_for_ms()), "\n");
  if (!view.topology_digest.empty()) {
    if (!node.in_topology) {
      AddLine("topology", "has no node of this name", 0, out);
    } else if (status.topology_digest() != view.topology_digest) {
      AddLine("topology", "the node runs with another one than this file", 0,
              out);
    }
  }
  AddLine("services",
          Listed(status.services(),
                 [](const auto& service) { return service.name(); }),
          status.services_left_out(), out);
  AddLine("listens",
          Listed(status.endpoints(),
                 [](const auto& endpoint) {
                   return absl::StrCat(endpoint.transport(), " ",
                                       endpoint.address());
                 }),
          status.endpoints_left_out(), out);
  AddLine("publishes",
          Listed(status.publishers(),
                 [](const auto& publisher) {
                   return publisher.target_service().empty()
                              ? publisher.topic()
                              : absl::StrCat(publisher.topic(), " to ",
                                             publisher.target_service());
                 }),
          status.publishers_left_out(), out);
  AddLine("subscribes",
          Listed(status.subscriptions(),
                 [](const auto& subscription) {
                   return absl::StrCat(subscription.topic(),
                                       subscription.name().empty() ? "" : " ",
                                       subscription.name());
                 }),
          status.subscriptions_left_out(), out);
  AddLinks(status, out);
}

void AddNode(const HostView& view, const SeenNode& node, std::string* out) {
  if (node.state == NodeState::kRunning) return AddRunning(view, node, out);
  std::string state(NodeStateWord(node.state));
  std::replace(state.begin(), state.end(), '_', ' ');
  absl::StrAppend(out, Harmless(node.name), ": ", state, ": ",
                  Harmless(node.why), "\n");
}

uint64_t FlowsLeftOut(const HostView& view) {
  uint64_t flows = 0;
  for (const SeenNode& node : view.nodes) {
    flows += node.status.flows_left_out();
  }
  return flows;
}

std::string AllConnected(const HostView& view) {
  std::vector<std::string> not_asked;
  for (const SeenNode& node : view.nodes) {
    if (node.state == NodeState::kNotAsked) not_asked.push_back(node.name);
  }
  if (not_asked.empty()) return "All are connected.\n";
  return absl::StrCat("All that were asked are connected; not asked: ",
                      Harmless(absl::StrJoin(not_asked, ", ")), ".\n");
}

}  // namespace

std::string StatusText(const HostView& view,
                       const std::vector<Problem>& problems) {
  std::string out;
  for (const SeenNode& node : view.nodes) {
    AddNode(view, node, &out);
    absl::StrAppend(&out, "\n");
  }
  const std::string flows = FlowTableText(view);
  if (!flows.empty()) absl::StrAppend(&out, "Flows:\n", flows);
  if (const uint64_t left_out = FlowsLeftOut(view); left_out > 0) {
    absl::StrAppend(&out, "  ", left_out, " more that nodes left out\n");
  }
  if (!flows.empty()) absl::StrAppend(&out, "\n");
  if (problems.empty()) return out + AllConnected(view);
  absl::StrAppend(&out, "Not talking:\n");
  for (const Problem& problem : problems) {
    absl::StrAppend(&out, "- ", Harmless(problem.text), "\n");
  }
  return out;
}

}  // namespace mycelium
