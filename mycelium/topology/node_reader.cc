#include "mycelium/topology/node_reader.h"

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "mycelium/topology/name_faults.h"
#include "mycelium/topology/nearest_word.h"
#include "mycelium/topology/place.h"
#include "mycelium/topology/table_reader.h"

namespace mycelium {
namespace {

std::string WhereOf(const TomlValue& table) {
  for (const TomlEntry& entry : table.entries) {
    if (entry.key == "name" && !entry.value.text.empty()) {
      return absl::StrCat("node ", Quoted(entry.value.text));
    }
  }
  return "[[nodes]]";
}

void ReadName(TableReader& reader, TopologyNode& node) {
  const bool given = reader.Find("name") != nullptr;
  node.name_position = reader.PositionOf("name");
  if (!given) {
    reader.Error(reader.position(), "no name; each node has one");
    return;
  }
  const std::optional<std::string> name = reader.String("name");
  if (!name.has_value()) return;
  const std::string fault = TopologyNameFault(*name);
  if (!fault.empty()) {
    reader.Error(node.name_position, absl::StrCat("name ", fault));
  }
  node.name = *name;
}

void ReadServices(TableReader& reader, TopologyNode& node) {
  for (const TomlValue* value :
       reader.Strings("services", kServicesPerNodeMax)) {
    const std::string fault = TopologyNameFault(value->text);
    if (!fault.empty()) {
      reader.Error(value->position, absl::StrCat("service ", fault));
    }
    node.services.push_back(value->text);
    node.service_positions.push_back(value->position);
  }
}

void ReadHost(TableReader& reader, const LocalIdentity& self,
              TopologyNode& node) {
  const std::optional<std::string> host = reader.ExpandedString("host");
  node.host_position = reader.PositionOf("host");
  if (!host.has_value()) return;
  if (host->empty()) {
    reader.Error(node.host_position,
                 "host is empty; leave the key out for this machine");
  } else if (!IsHost(*host)) {
    std::string name;
    int port;
    reader.Error(
        node.host_position,
        absl::StrCat("host ", Quoted(*host),
                     " is neither a name nor an address",
                     SplitHostPort(*host, &name, &port)
                         ? absl::StrCat("; write port = ", port, " beside it")
                         : ""));
  } else if (IsWildcard(*host)) {
    reader.Error(
        node.host_position,
        absl::StrCat("host ", Quoted(*host),
                     " can be bound, not dialled; write it in the addr "
                     "of an endpoint"));
  } else {
    node.host = *host;
    node.place = PlaceOf(*host, self);
  }
}

void ReadPort(TableReader& reader, TopologyNode& node) {
  const TomlValue* const value = reader.Find("port");
  node.port_position = reader.PositionOf("port");
  if (value == nullptr) return;
  node.port = kBadPort;

  int64_t port = value->integer;
  if (value->kind == TomlValue::Kind::kString) {
    const std::optional<std::string> text = reader.Expand("port", *value);
    if (!text.has_value()) return;
    const bool digits =
        text->find_first_not_of("0123456789") == std::string::npos;
    if (!digits || !absl::SimpleAtoi(*text, &port)) {
      reader.Error(value->position,
                   absl::StrCat("port ", Quoted(*text), " is no number"));
      return;
    }
  } else if (value->kind != TomlValue::Kind::kInteger) {
    reader.WrongType("port", "an integer, or a string with ${VAR}", *value);
    return;
  }
  if (port < 1 || port > kPortMax) {
    reader.Error(
        value->position,
        absl::StrCat("port ", port, " is out of bounds; 1 to ", kPortMax));
    return;
  }
  node.port = static_cast<int>(port);
}

void ReadEndpointAddress(TableReader& reader, Endpoint& endpoint) {
  const std::optional<std::string> address = reader.ExpandedString("addr");
  if (!address.has_value()) return;
  const SourcePosition position = reader.PositionOf("addr");
  std::string host;
  int port;
  if (endpoint.kind == TransportKind::kGrpc) {
    if (!SplitHostPort(*address, &host, &port)) {
      reader.Error(position,
                   absl::StrCat("addr ", Quoted(*address), " is no host:port"));
      return;
    }
  } else if (!absl::StartsWith(*address, "/") ||
             absl::StrContains(*address, '\0')) {
    reader.Error(position, absl::StrCat("addr ", Quoted(*address),
                                        " is no absolute path"));
    return;
  }
  endpoint.address = *address;
  endpoint.position = position;
}

void ReadEndpoint(TableReader& node_reader, const EnvLookup& env,
                  Diagnostics& diagnostics, TopologyNode& node) {
  const TomlValue* const table = node_reader.Table("endpoint");
  if (table == nullptr) return;
  TableReader reader(*table, absl::StrCat(node_reader.where(), ": endpoint"),
                     env, diagnostics);
  Endpoint endpoint;
  endpoint.position = table->position;
  const TomlValue* const kind = reader.Find("kind");
  bool known = false;
  if (kind == nullptr) {
    reader.Error(table->position, "no kind; known: shm, unix, grpc, tcp");
  } else if (reader.String("kind").has_value()) {
    const std::optional<TransportKind> value = TransportKindOf(kind->text);
    known = value.has_value() && *value != TransportKind::kInproc;
    if (known) {
      endpoint.kind = *value;
    } else {
      reader.UnknownWord(*kind, "kind", {"shm", "unix", "grpc", "tcp"});
    }
  }
  if (known) {
    ReadEndpointAddress(reader, endpoint);
    // A remote node without a port is told that anyway.
    if (endpoint.kind == TransportKind::kGrpc && node.port == 0 &&
        node.place.empty() && reader.Find("addr") == nullptr) {
      reader.Error(table->position,
                   "kind grpc needs an addr such as \"127.0.0.1:9001\", or the "
                   "node a port");
    }
    node.endpoint = std::move(endpoint);
  } else {
    reader.Find("addr");  // What it has to be is unknown too.
  }
  reader.Finish();
}

void ReadCertificateName(TableReader& reader, TopologyNode& node) {
  const std::optional<std::string> name =
      reader.ExpandedString("certificate_name");
  if (!name.has_value()) return;
  if (!IsHost(*name)) {
    reader.Error(reader.PositionOf("certificate_name"),
                 absl::StrCat("certificate_name ", Quoted(*name),
                              " is neither a name nor an address"));
  }
  node.certificate_name = *name;
}

}  // namespace

TopologyNode ReadNode(const TomlValue& table, const EnvLookup& env,
                      const LocalIdentity& self, Diagnostics& diagnostics) {
  TableReader reader(table, WhereOf(table), env, diagnostics);
  TopologyNode node;
  node.position = table.position;
  ReadName(reader, node);
  ReadServices(reader, node);
  ReadHost(reader, self, node);
  ReadPort(reader, node);
  ReadEndpoint(reader, env, diagnostics, node);
  ReadCertificateName(reader, node);
  reader.Finish();
  return node;
}

}  // namespace mycelium
