#include "mycelium/topology/place.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace mycelium {
namespace {

constexpr size_t kHostBytesMax = 253;  // Of a DNS name.

absl::string_view WithoutBrackets(absl::string_view host) {
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) {
    host.remove_prefix(1);
    host.remove_suffix(1);
  }
  return host;
}

}  // namespace

std::string ComparableHost(absl::string_view host) {
  return absl::AsciiStrToLower(absl::StripSuffix(WithoutBrackets(host), "."));
}

std::string PlaceOf(absl::string_view host, const LocalIdentity& self) {
  std::string place = ComparableHost(host);
  const bool is_here = place == "localhost" || place == "127.0.0.1" ||
                       place == "::1" ||
                       place == ComparableHost(self.host_name);
  return is_here ? "" : place;
}

bool IsHost(absl::string_view text) {
  text = WithoutBrackets(text);
  if (text.empty() || text.size() > kHostBytesMax) return false;
  for (unsigned char c : text) {
    if (!absl::ascii_isalnum(c) && !absl::StrContains(".-_:%", c)) {
      return false;
    }
  }
  // "host:port" is no host, and IPv6 has two colons at least.
  const absl::string_view address = text.substr(0, text.find('%'));
  if (address.empty()) return false;
  const auto colons = std::count(address.begin(), address.end(), ':');
  return colons == 0 || (colons >= 2 && address.find_first_not_of(
                                            "0123456789abcdefABCDEF:.") ==
                                            absl::string_view::npos);
}

bool IsWildcard(absl::string_view host) {
  const std::string name = ComparableHost(host);
  // All zero, however many of them are written.
  return name.empty() ||
         (absl::StripPrefix(name, "::ffff:").find_first_not_of("0.:") ==
              absl::string_view::npos &&
          name.find_first_of("0:") != std::string::npos);
}

std::string JoinHostPort(absl::string_view host, int port) {
  host = WithoutBrackets(host);
  if (absl::StrContains(host, ':')) return absl::StrCat("[", host, "]:", port);
  return absl::StrCat(host, ":", port);
}

bool SplitHostPort(absl::string_view text, std::string* host, int* port) {
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return false;
  const absl::string_view head = text.substr(0, colon);
  const absl::string_view tail = text.substr(colon + 1);
  const bool bare_ipv6 =
      absl::StrContains(head, ':') && !absl::StartsWith(head, "[");
  if (bare_ipv6 || (!head.empty() && !IsHost(head))) return false;
  if (tail.empty() || tail.size() > 5) return false;
  if (tail.find_first_not_of("0123456789") != absl::string_view::npos) {
    return false;
  }
  if (!absl::SimpleAtoi(tail, port) || *port < 1 || *port > 65535) {
    return false;
  }
  *host = std::string(WithoutBrackets(head));
  return true;
}

bool IsLoopback(absl::string_view host) {
  const std::string name = ComparableHost(host);
  const absl::string_view ipv4 = absl::StripPrefix(name, "::ffff:");
  // A name such as 127.example.com can be anywhere.
  const bool is_ipv4 =
      ipv4.find_first_not_of("0123456789.") == absl::string_view::npos;
  return name == "localhost" || name == "::1" ||
         (is_ipv4 && absl::StartsWith(ipv4, "127."));
}

}  // namespace mycelium
