#include "mycelium/transport/grpc/grpc_address.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "mycelium/topology/place.h"

namespace mycelium {
namespace {

bool IsUnix(absl::string_view address) {
  return absl::StartsWith(address, "unix:") ||
         absl::StartsWith(address, "unix-abstract:");
}

// "host:port", without the scheme and, of "dns://server/name", the server.
absl::string_view WithoutScheme(absl::string_view address) {
  for (const absl::string_view scheme : {"ipv4:", "ipv6:"}) {
    if (absl::ConsumePrefix(&address, scheme)) return address;
  }
  if (absl::ConsumePrefix(&address, "dns:") &&
      absl::ConsumePrefix(&address, "//")) {
    const size_t slash = address.find('/');
    address.remove_prefix(slash == absl::string_view::npos ? address.size()
                                                           : slash + 1);
  }
  return address;
}

// Where the port's colon is; npos: there is none.
size_t PortColon(absl::string_view host_port) {
  const size_t colon = host_port.rfind(':');
  const size_t bracket = host_port.rfind(']');
  if (colon == absl::string_view::npos) return colon;
  if (bracket != absl::string_view::npos) {
    return colon > bracket ? colon : absl::string_view::npos;
  }
  // More than one, and no brackets: an IPv6 address without a port.
  return host_port.find(':') == colon ? colon : absl::string_view::npos;
}

}  // namespace

bool IsLoopbackAddress(absl::string_view address) {
  return IsUnix(address) || IsLoopback(HostOfAddress(address));
}

std::string HostOfAddress(absl::string_view address) {
  if (IsUnix(address)) return "";
  absl::string_view host = WithoutScheme(address);
  host = host.substr(0, PortColon(host));
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  return std::string(host);
}

std::string WithPort(absl::string_view address, int port) {
  if (IsUnix(address)) return std::string(address);
  const absl::string_view host_port = WithoutScheme(address);
  const size_t colon = PortColon(host_port);
  if (colon == absl::string_view::npos) return std::string(address);
  return absl::StrCat(
      address.substr(0, address.size() - host_port.size() + colon), ":", port);
}

std::string ReadableAddress(absl::string_view reported) {
  return absl::StrReplaceAll(reported, {{"%5B", "["}, {"%5D", "]"}});
}

}  // namespace mycelium
