#include "mycelium/cli/topology_command.h"

#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "mycelium/topology/route_rules.h"
#include "mycelium/topology/topology_loader.h"

namespace mycelium {
namespace {

CommandResult UsageError(absl::string_view what) {
  return {kExitUsage, "", absl::StrCat(what, "\n")};
}

CommandResult Invalid(const absl::Status& status) {
  return {kExitInvalid, "", absl::StrCat(status.message(), "\n")};
}

std::string Counted(size_t count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

CommandResult Check(Sys& sys, const EnvLookup& env, const std::string& file) {
  const absl::StatusOr<Topology> topology = LoadTopology(sys, file, env);
  if (!topology.ok()) return Invalid(topology.status());
  size_t services = 0;
  for (const TopologyNode& node : topology->nodes) {
    services += node.services.size();
  }
  return {kExitOk,
          absl::StrCat(file, ": ok: ", Counted(topology->nodes.size(), "node"),
                       ", ", Counted(services, "service"), ", ",
                       Counted(topology->routes.size(), "route"), "\ndigest ",
                       ContentDigest(*topology), "\n"),
          ""};
}

// The time that holds between the two, and the reason if it is not what the
// routes from one to the other say.
std::string RetainText(const Topology& topology, const Connection& connection,
                       const std::string& from, const std::string& to,
                       const RouteSettings& settings) {
  if (connection.transport == TransportKind::kInproc) {
    return absl::StrCat(absl::FormatDuration(settings.retain),
                        " (no effect: one node)");
  }
  const std::string& from_node = topology.FindServiceOrNode(from)->name;
  const std::string& to_node = topology.FindServiceOrNode(to)->name;
  const absl::Duration retain = LongestRetain(topology, from_node, to_node);
  return absl::StrCat(absl::FormatDuration(retain),
                      retain == settings.retain
                          ? ""
                          : absl::StrCat(" (the longest between nodes ",
                                         from_node, " and ", to_node, ")"));
}

// What the routes from one to the other say, and what a lane may have if others
// of the two nodes share it.
std::string LaneBytesText(const Topology& topology,
                          const Connection& connection, const std::string& from,
                          const std::string& to,
                          const RouteSettings& settings) {
  std::string text = absl::StrCat(settings.lane_bytes);
  if (connection.transport == TransportKind::kInproc) return text;
  const auto [least, most] =
      LaneBytesBetween(topology, topology.FindServiceOrNode(from)->name,
                       topology.FindServiceOrNode(to)->name);
  if (least == most) return text;
  return absl::StrCat(text, " (", least, " to ", most,
                      " where a lane is shared: that of whoever matches "
                      "first)");
}

// The settings. Brackets say when a setting counts that has no effect unless
// the subscription itself asks for something else.
std::string SettingsText(const RouteSettings& settings,
                         const std::string& lane_bytes,
                         const std::string& retain) {
  const bool drops = settings.overflow == Overflow::kDropNewest ||
                     settings.overflow == Overflow::kDropOldest;
  const absl::string_view if_drops =
      drops ? "" : " (if a subscription asks for drop_newest or drop_oldest)";
  const absl::string_view newest =
      settings.overflow == Overflow::kLatest ? "1; " : "";
  const absl::string_view if_waits =
      settings.overflow == Overflow::kBlock
          ? ""
          : " (if a subscription asks for block)";
  const std::string if_adaptive =
      settings.wait == WaitMode::kAdaptive
          ? ""
          : absl::StrCat(" (no effect: wait is ", WordOf(settings.wait), ")");
  return absl::StrCat(
      "overflow: ", WordOf(settings.overflow), "\ndepth: ", newest,
      settings.depth, if_drops, "\nwindow: ", newest, settings.window, if_drops,
      "\nlane_bytes: ", lane_bytes,
      "\npublish_timeout: ", absl::FormatDuration(settings.publish_timeout),
      if_waits, "\nretain: ", retain, "\nwait: ", WordOf(settings.wait),
      "\nspin: ", absl::FormatDuration(settings.spin), if_adaptive, "\n");
}

CommandResult ExplainPair(Sys& sys, const EnvLookup& env,
                          const std::vector<std::string>& names,
                          const std::string& topic) {
  const absl::StatusOr<Topology> topology = LoadTopology(sys, names[0], env);
  if (!topology.ok()) return Invalid(topology.status());
  const absl::StatusOr<Connection> connection =
      Explain(*topology, names[1], names[2]);
  if (!connection.ok()) return Invalid(connection.status());
  RouteSettings settings = SettingsFor(*topology, names[1], names[2], topic);
  if (connection->transport == TransportKind::kInproc) {
    // The subscriber's lane is for all publishers.
    settings.lane_bytes =
        SettingsFor(*topology, "", names[2], topic).lane_bytes;
  }
  return {kExitOk,
          absl::StrCat(names[1], " -> ", names[2], "\ntransport: ",
                       WordOf(connection->transport), "\naddress: ",
                       connection->address.empty() ? "-" : connection->address,
                       "\nrule: ", connection->rule, "\n",
                       SettingsText(settings,
                                    LaneBytesText(*topology, *connection,
                                                  names[1], names[2], settings),
                                    RetainText(*topology, *connection, names[1],
                                               names[2], settings))),
          ""};
}

// Takes `--topic X` and `--topic=X` out of `words`. Nothing if an option is
// unknown or has no value; `*fault` says which.
std::optional<std::string> TakeTopic(std::vector<std::string>& words,
                                     std::string* fault) {
  std::string topic;
  std::vector<std::string> rest;
  for (size_t i = 0; i < words.size(); ++i) {
    absl::string_view word = words[i];
    if (absl::ConsumePrefix(&word, "--topic=")) {
      topic = std::string(word);
    } else if (word == "--topic") {
      if (++i == words.size()) {
        *fault = "--topic needs a value";
        return std::nullopt;
      }
      topic = words[i];
    } else if (absl::StartsWith(word, "-")) {
      *fault = absl::StrCat("unknown option ", word, "; known: --topic");
      return std::nullopt;
    } else {
      rest.push_back(words[i]);
    }
  }
  words = std::move(rest);
  return topic;
}

}  // namespace

CommandResult RunTopologyCommand(Sys& sys, const EnvLookup& env,
                                 const std::vector<std::string>& words) {
  if (words.empty()) {
    return UsageError("topology: no subcommand; known: check, explain");
  }
  const std::string& subcommand = words[0];
  std::vector<std::string> names(words.begin() + 1, words.end());
  if (subcommand == "check") {
    if (!names.empty() && absl::StartsWith(names[0], "-")) {
      return UsageError(absl::StrCat("topology check: unknown option ",
                                     names[0], "; there are none"));
    }
    if (names.size() != 1) return UsageError("topology check takes one FILE");
    return Check(sys, env, names[0]);
  }
  if (subcommand == "explain") {
    std::string fault;
    const std::optional<std::string> topic = TakeTopic(names, &fault);
    if (!topic.has_value()) {
      return UsageError(absl::StrCat("topology explain: ", fault));
    }
    if (names.size() != 3) {
      return UsageError("topology explain takes FILE FROM TO");
    }
    return ExplainPair(sys, env, names, *topic);
  }
  return UsageError(absl::StrCat("topology: unknown subcommand ", subcommand,
                                 "; known: check, explain"));
}

}  // namespace mycelium
