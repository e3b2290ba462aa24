#include "mycelium/cli/flow_table_text.h"

#include <algorithm>
#include <array>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "mycelium/base/harmless.h"

namespace mycelium {
namespace {

constexpr size_t kColumns = 8;
// Numbers from here on, aligned to the right.
constexpr size_t kFirstNumber = 4;
using Row = std::array<std::string, kColumns>;

// Topic, publisher's node and service, subscriber's node and service, name.
using FlowKey = std::tuple<std::string, std::string, std::string, std::string,
                           std::string, std::string>;

struct Counts {
  std::string transport;
  uint64_t accepted = 0, delivered = 0, in_flight = 0;
  std::map<std::string, uint64_t> dropped;
};

FlowKey KeyOf(const v1::FlowStatus& flow) {
  return {flow.topic(),
          flow.publisher_node(),
          flow.publisher_service(),
          flow.subscriber_node(),
          flow.subscriber_service(),
          flow.subscription_name()};
}

// Only one side counts each counter, except for drops, and those add up.
std::map<FlowKey, Counts> AddUp(const HostView& view) {
  std::map<FlowKey, Counts> flows;
  for (const SeenNode& node : view.nodes) {
    for (const v1::FlowStatus& flow : node.status.flows()) {
      Counts& counts = flows[KeyOf(flow)];
      // The publisher's node chose the transport.
      if (counts.transport.empty() || flow.publisher_node() == node.name) {
        counts.transport = flow.transport();
      }
      counts.accepted += flow.accepted();
      counts.delivered += flow.delivered();
      counts.in_flight += flow.in_flight();
      for (const v1::DropStatus& drop : flow.dropped()) {
        counts.dropped[drop.reason()] += drop.messages();
      }
    }
  }
  return flows;
}

std::string EndText(const std::string& node, const std::string& service) {
  return node.empty() && service.empty() ? "nobody"
                                         : absl::StrCat(node, "/", service);
}

std::string DropsText(const Counts& counts) {
  uint64_t sum = 0;
  std::string reasons;
  for (const auto& [reason, messages] : counts.dropped) {
    sum += messages;
    absl::StrAppend(&reasons, reasons.empty() ? "" : ", ", reason, " ",
                    messages);
  }
  // A single number needs only its word.
  if (counts.dropped.size() == 1) {
    return absl::StrCat(sum, " (", counts.dropped.begin()->first, ")");
  }
  return reasons.empty() ? "0" : absl::StrCat(sum, " (", reasons, ")");
}

Row RowOf(const HostView& view, const FlowKey& key, const Counts& counts) {
  const auto& [topic, from_node, from, to_node, to, name] = key;
  const bool sees_publisher = view.FindRunning(from_node) != nullptr;
  const bool sees_subscriber =
      to_node.empty() || view.FindRunning(to_node) != nullptr;
  const auto number = [](bool is_known, uint64_t count) {
    return is_known ? absl::StrCat(count) : std::string("-");
  };
  return {Harmless(topic),
          Harmless(EndText(from_node, from)),
          Harmless(absl::StrCat(EndText(to_node, to), name.empty() ? "" : " ",
                                name)),
          Harmless(counts.transport),
          number(sees_publisher, counts.accepted),
          number(sees_subscriber, counts.delivered),
          number(sees_publisher, counts.in_flight),
          Harmless(DropsText(counts))};
}

}  // namespace

std::string FlowTableText(const HostView& view) {
  std::vector<Row> rows = {{"topic", "from", "to", "transport", "accepted",
                            "delivered", "in flight", "dropped"}};
  for (const auto& [key, counts] : AddUp(view)) {
    rows.push_back(RowOf(view, key, counts));
  }
  if (rows.size() == 1) return "";
  std::array<size_t, kColumns> widths = {};
  for (const Row& row : rows) {
    for (size_t i = 0; i < kColumns; ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < kColumns; ++i) {
      const std::string pad(widths[i] - row[i].size(), ' ');
      // The last column has words too.
      const bool is_number = i >= kFirstNumber && i + 1 < kColumns;
      absl::StrAppend(&line, "  ", is_number ? pad : "", row[i],
                      is_number ? "" : pad);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

}  // namespace mycelium
