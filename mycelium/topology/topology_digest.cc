#include <openssl/sha.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mycelium/topology/topology.h"

namespace mycelium {
namespace {

std::string Escaped(absl::string_view text) {
  return absl::StrCat("\"", absl::CEscape(text), "\"");
}

std::string EscapedList(std::vector<std::string> texts) {
  std::sort(texts.begin(), texts.end());
  for (std::string& text : texts) text = Escaped(text);
  return absl::StrCat("[", absl::StrJoin(texts, ","), "]");
}

std::string ValueText(int64_t value) { return absl::StrCat(value); }
std::string ValueText(absl::Duration value) {
  return absl::FormatDuration(value);
}
std::string ValueText(TransportKind value) {
  return std::string(WordOf(value));
}
std::string ValueText(Overflow value) { return std::string(WordOf(value)); }
std::string ValueText(WaitMode value) { return std::string(WordOf(value)); }

template <typename T>
void AppendField(std::string& line, absl::string_view key,
                 const std::optional<T>& value) {
  if (value.has_value()) {
    absl::StrAppend(&line, " ", key, "=", ValueText(*value));
  }
}

std::string OverridesText(const RouteOverrides& overrides) {
  std::string line;
  AppendField(line, "transport", overrides.transport);
  AppendField(line, "overflow", overrides.overflow);
  AppendField(line, "depth", overrides.depth);
  AppendField(line, "window", overrides.window);
  AppendField(line, "lane_bytes", overrides.lane_bytes);
  AppendField(line, "publish_timeout", overrides.publish_timeout);
  AppendField(line, "retain", overrides.retain);
  AppendField(line, "wait", overrides.wait);
  AppendField(line, "spin", overrides.spin);
  return line;
}

std::string NodeText(const TopologyNode& node) {
  std::string line = absl::StrCat(
      "node ", Escaped(node.name), " services=", EscapedList(node.services),
      " host=", Escaped(node.host), " port=", node.port);
  if (node.endpoint.has_value()) {
    absl::StrAppend(&line, " endpoint=", WordOf(node.endpoint->kind), ":",
                    Escaped(node.endpoint->address));
  }
  if (!node.certificate_name.empty()) {
    absl::StrAppend(&line,
                    " certificate_name=", Escaped(node.certificate_name));
  }
  return line;
}

std::string DefaultsText(const Topology& topology) {
  const RouteSettings& settings = topology.defaults;
  RouteOverrides all;
  all.transport = topology.default_transport;
  all.overflow = settings.overflow;
  all.depth = settings.depth;
  all.window = settings.window;
  all.lane_bytes = settings.lane_bytes;
  all.publish_timeout = settings.publish_timeout;
  all.retain = settings.retain;
  all.wait = settings.wait;
  all.spin = settings.spin;
  return absl::StrCat("defaults", OverridesText(all));
}

std::string LimitsText(const Limits& limits) {
  return absl::StrCat("limits handshake=", ValueText(limits.handshake),
                      " frame_bytes_max=", limits.frame_bytes_max,
                      " links=", limits.links,
                      " reconnect_min=", ValueText(limits.reconnect_min),
                      " reconnect_max=", ValueText(limits.reconnect_max),
                      " keepalive=", ValueText(limits.keepalive),
                      " redeliver_max=", limits.redeliver_max);
}

}  // namespace

std::string CanonicalText(const Topology& topology) {
  std::vector<std::string> lines;
  for (const TopologyNode& node : topology.nodes) {
    lines.push_back(NodeText(node));
  }
  for (const Route& route : topology.routes) {
    lines.push_back(absl::StrCat(
        "route ", Escaped(route.from), " -> ", Escaped(route.to),
        " topics=", EscapedList(route.topics), OverridesText(route.overrides)));
  }
  std::set<std::string> uids;
  for (int64_t uid : topology.allow_uids) uids.insert(absl::StrCat(uid));
  lines.push_back(DefaultsText(topology));
  lines.push_back(LimitsText(topology.limits));
  lines.push_back(absl::StrCat(
      "access allow_uids=", EscapedList({uids.begin(), uids.end()}),
      " allow_anonymous=", topology.allow_anonymous, " insecure=",
      topology.insecure, " certificate=", !topology.tls.certificate.empty(),
      " ca=", !topology.tls.ca.empty(),
      " require_client_certificate=", topology.tls.require_client_certificate,
      " schema=", WordOf(topology.schema)));
  if (topology.socket_dir_configured) {
    lines.push_back(absl::StrCat("socket_dir ", Escaped(topology.socket_dir)));
  }
  std::sort(lines.begin(), lines.end());
  return absl::StrCat("mycelium topology 1\n", absl::StrJoin(lines, "\n"),
                      "\n");
}

std::string ContentDigest(const Topology& topology) {
  const std::string text = CanonicalText(topology);
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         digest);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest), sizeof digest));
}

}  // namespace mycelium
