#include "mycelium/topology/topology_parser.h"

#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mycelium/topology/diagnostics.h"
#include "mycelium/topology/nearest_word.h"
#include "mycelium/topology/node_reader.h"
#include "mycelium/topology/route_reader.h"
#include "mycelium/topology/socket_dir.h"
#include "mycelium/topology/table_reader.h"
#include "mycelium/topology/toml_document.h"
#include "mycelium/topology/topology_validator.h"

namespace mycelium {
namespace {

// One parse: the topology that grows and what its parts need.
class Parser final {
 public:
  Parser(const EnvLookup& env, const LocalIdentity& self,
         Diagnostics& diagnostics, Topology& topology)
      : env_(env),
        self_(self),
        diagnostics_(diagnostics),
        topology_(topology) {}

  void Parse(const TomlValue& document) {
    TableReader top(document, "top level", env_, diagnostics_);
    for (const TomlValue* table : top.Tables("nodes", kNodesMax)) {
      topology_.nodes.push_back(ReadNode(*table, env_, self_, diagnostics_));
    }
    for (const TomlValue* table : top.Tables("routes", kRoutesMax)) {
      topology_.routes.push_back(ReadRoute(*table, env_, diagnostics_));
    }
    ReadDefaults(top);
    ReadLimits(top);
    ReadTls(top);
    ReadSchema(top);
    topology_.insecure |= top.Bool("insecure").value_or(false);
    topology_.allow_anonymous = top.Bool("allow_anonymous").value_or(false);
    ReadAllowUids(top);
    ReadSocketDir(top, "socket_dir");
    ReadDeployment(top);
    ReadInterNode(top);
    top.Finish();
    if (!topology_.socket_dir_configured) {
      topology_.socket_dir = DefaultSocketDir(env_, self_.uid);
    }
  }

 private:
  void ReadDefaults(TableReader& top) {
    const TomlValue* const table = top.Table("defaults");
    if (table == nullptr) return;
    TableReader reader(*table, "[defaults]", env_, diagnostics_);
    const RouteOverrides overrides = ReadOverrides(reader);
    topology_.defaults = Apply(overrides, topology_.defaults);
    if (overrides.lane_bytes.has_value()) {
      topology_.lane_bytes_position = reader.PositionOf("lane_bytes");
    }
    if (overrides.transport.has_value()) SetTransport(reader, overrides);
    reader.Finish();
  }

  void SetTransport(TableReader& reader, const RouteOverrides& overrides) {
    const SourcePosition position = reader.PositionOf("transport");
    if (*overrides.transport == TransportKind::kInproc) {
      reader.Error(position,
                   "transport inproc cannot join two nodes; known: shm, unix, "
                   "grpc, tcp");
      return;
    }
    topology_.default_transport = overrides.transport;
    topology_.default_transport_position = position;
  }

  void ReadLimits(TableReader& top) {
    const TomlValue* const table = top.Table("limits");
    if (table == nullptr) return;
    TableReader reader(*table, "[limits]", env_, diagnostics_);
    Limits& limits = topology_.limits;
    limits.handshake =
        reader.DurationSetting("handshake").value_or(limits.handshake);
    limits.frame_bytes_max =
        reader.Setting("frame_bytes_max").value_or(limits.frame_bytes_max);
    topology_.frame_bytes_max_position = reader.PositionOf("frame_bytes_max");
    limits.links = reader.Setting("links").value_or(limits.links);
    limits.reconnect_min =
        reader.DurationSetting("reconnect_min").value_or(limits.reconnect_min);
    limits.reconnect_max =
        reader.DurationSetting("reconnect_max").value_or(limits.reconnect_max);
    limits.keepalive =
        reader.DurationSetting("keepalive").value_or(limits.keepalive);
    limits.redeliver_max =
        reader.Setting("redeliver_max").value_or(limits.redeliver_max);
    if (limits.reconnect_min > limits.reconnect_max) {
      reader.Error(reader.PositionOf("reconnect_min"),
                   absl::StrCat("reconnect_min ",
                                absl::FormatDuration(limits.reconnect_min),
                                " is more than reconnect_max ",
                                absl::FormatDuration(limits.reconnect_max)));
    }
    reader.Finish();
  }

  void ReadTls(TableReader& top) {
    const TomlValue* const table = top.Table("tls");
    if (table == nullptr) return;
    TableReader reader(*table, "[tls]", env_, diagnostics_);
    Tls& tls = topology_.tls;
    bool is_whole = true;  // Else an error is reported already.
    const auto read = [&](absl::string_view key) {
      const std::optional<std::string> path = reader.ExpandedString(key);
      if (reader.Find(key) == nullptr) return std::string();
      // Nobody means an empty one: without a ca the system's roots are
      // believed.
      if (path.has_value() && path->empty()) {
        reader.Error(
            reader.PositionOf(key),
            absl::StrCat(key, " is empty; leave the key out for none"));
      } else if (path.has_value() && absl::StrContains(*path, '\0')) {
        reader.Error(reader.PositionOf(key),
                     absl::StrCat(key, " ", Quoted(*path), " is no path"));
      } else if (path.has_value()) {
        return *path;
      }
      is_whole = false;
      return std::string();
    };
    tls.certificate = read("certificate");
    tls.key = read("key");
    tls.ca = read("ca");
    tls.require_client_certificate =
        reader.Bool("require_client_certificate").value_or(false);
    topology_.insecure |= reader.Bool("insecure").value_or(false);
    if (is_whole) {
      for (const TlsFault& fault : FaultsOf(tls)) {
        reader.Error(
            fault.key.empty() ? table->position : reader.PositionOf(fault.key),
            std::string(fault.text));
      }
    }
    reader.Finish();
  }

  void ReadSchema(TableReader& top) {
    const std::optional<std::string> word = top.String("schema");
    if (!word.has_value()) return;
    if (const auto policy = SchemaPolicyOf(*word); policy.has_value()) {
      topology_.schema = *policy;
    } else {
      top.UnknownWord(*top.Find("schema"), "schema", SchemaPolicyWords());
    }
  }

  void ReadAllowUids(TableReader& top) {
    const TomlValue* const array = top.Find("allow_uids");
    if (array == nullptr) return;
    if (array->kind != TomlValue::Kind::kArray) {
      top.WrongType("allow_uids", "an array of integers", *array);
      return;
    }
    if (array->items.size() > kAllowUidsMax) {
      top.Error(array->position,
                absl::StrCat("allow_uids: ", array->items.size(),
                             " given; at most ", kAllowUidsMax));
    }
    for (const TomlValue& item : array->items) {
      if (item.kind != TomlValue::Kind::kInteger) {
        top.WrongType("allow_uids", "an array of integers", item);
      } else if (item.integer < 0 || item.integer >= kUidEnd) {
        top.Error(item.position,
                  absl::StrCat("allow_uids: ", item.integer,
                               " is no uid; 0 to ", kUidEnd - 1));
      } else {
        topology_.allow_uids.push_back(item.integer);
      }
    }
  }

  void ReadSocketDir(TableReader& reader, absl::string_view key) {
    const std::optional<std::string> path = reader.ExpandedString(key);
    if (reader.Find(key) == nullptr) return;
    topology_.socket_dir_configured = true;
    topology_.socket_dir_position = reader.PositionOf(key);
    if (!path.has_value()) return;
    if (!absl::StartsWith(*path, "/") || absl::StrContains(*path, '\0')) {
      reader.Error(
          topology_.socket_dir_position,
          absl::StrCat(key, " ", Quoted(*path), " is no absolute path"));
      return;
    }
    topology_.socket_dir = *path;
  }

  // Older files say how they mean to be deployed. The nodes decide; the word
  // is only checked.
  void ReadDeployment(TableReader& top) {
    const TomlValue* const table = top.Table("deployment");
    if (table == nullptr) return;
    TableReader reader(*table, "[deployment]", env_, diagnostics_);
    const std::optional<std::string> mode = reader.String("mode");
    if (mode.has_value() && *mode != "monolith" && *mode != "bundled" &&
        *mode != "isolated" && *mode != "distributed") {
      reader.UnknownWord(*reader.Find("mode"), "mode",
                         {"monolith", "bundled", "isolated", "distributed"});
    }
    reader.Finish();
  }

  // Older files: the transport between nodes of one host, and socket_dir.
  void ReadInterNode(TableReader& top) {
    const TomlValue* const table = top.Table("inter_node");
    if (table == nullptr) return;
    TableReader reader(*table, "[inter_node]", env_, diagnostics_);
    const std::optional<std::string> word = reader.String("transport");
    if (word.has_value()) {
      RouteOverrides overrides;
      overrides.transport = TransportKindOf(*word);
      if (!overrides.transport.has_value()) {
        reader.UnknownWord(*reader.Find("transport"), "transport",
                           TransportWords());
      } else if (topology_.default_transport.has_value()) {
        reader.Error(reader.PositionOf("transport"),
                     "transport is given in [defaults] too");
      } else {
        SetTransport(reader, overrides);
      }
    }
    if (topology_.socket_dir_configured &&
        reader.Find("socket_dir") != nullptr) {
      reader.Error(reader.PositionOf("socket_dir"),
                   "socket_dir is given at the top level too");
    } else {
      ReadSocketDir(reader, "socket_dir");
    }
    reader.Finish();
  }

  const EnvLookup& env_;
  const LocalIdentity& self_;
  Diagnostics& diagnostics_;
  Topology& topology_;
};

}  // namespace

absl::StatusOr<Topology> ParseTopology(absl::string_view text,
                                       absl::string_view file_name,
                                       const EnvLookup& env,
                                       const LocalIdentity& self) {
  Diagnostics diagnostics(file_name);
  if (text.size() > kTopologyBytesMax) {
    diagnostics.Add({1, 1}, "file",
                    absl::StrCat("it has ", text.size(), " bytes; at most ",
                                 kTopologyBytesMax));
    return diagnostics.ToStatus();
  }
  const std::optional<TomlValue> document = ParseToml(text, diagnostics);
  if (!document.has_value()) return diagnostics.ToStatus();
  Topology topology;
  topology.path = std::string(file_name);
  Parser(env, self, diagnostics, topology).Parse(*document);
  ValidateTopology(topology, diagnostics);
  if (!diagnostics.empty()) return diagnostics.ToStatus();
  return topology;
}

}  // namespace mycelium
