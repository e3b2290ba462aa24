#include "mycelium/transport/grpc/grpc_address.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "mycelium/topology/place.h"

namespace mycelium {
namespace {

constexpr int kPortMax = 65535;

bool IsUnix(absl::string_view address) {
  return absl::StartsWith(address, "unix:") ||
         absl::StartsWith(address, "unix-abstract:");
}

// "host:port", without the scheme and, for "dns://server/name", without the
// server.
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

std::string AddressFault(absl::string_view address, int port_min) {
  const absl::string_view host_port = WithoutScheme(address);
  const bool is_other_scheme = absl::StrContains(host_port, "://") ||
                               absl::StartsWith(host_port, "xds:") ||
                               absl::StartsWith(host_port, "vsock:");
  if (IsUnix(address) || is_other_scheme) return "";
  const size_t colon = PortColon(host_port);
  if (colon == absl::string_view::npos) return "no port; expected host:port";
  const absl::string_view text = host_port.substr(colon + 1);
  // gRPC knows these when it dials.
  if (port_min > 0 && (text == "http" || text == "https")) return "";
  const bool is_number =
      !text.empty() &&
      text.find_first_not_of("0123456789") == absl::string_view::npos;
  int port;
  if (is_number && absl::SimpleAtoi(text, &port) && port >= port_min &&
      port <= kPortMax) {
    return "";
  }
  return absl::StrCat("port \"", text, "\"; ", port_min, " to ", kPortMax,
                      " are allowed");
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
