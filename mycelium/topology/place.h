#ifndef MYCELIUM_TOPOLOGY_PLACE_H_
#define MYCELIUM_TOPOLOGY_PLACE_H_

#include <string>

#include "absl/strings/string_view.h"
#include "mycelium/topology/environment.h"

namespace mycelium {

// Two nodes are at one place if their hosts mean one machine as far as the
// file can tell: names are compared, never resolved.

// The host in lower case, without brackets around IPv6 and without a dot at the
// end.
std::string ComparableHost(absl::string_view host);

// The host in comparable form, but empty for no host, localhost, 127.0.0.1, ::1
// and the name of this machine.
std::string PlaceOf(absl::string_view host, const LocalIdentity& self);

// Whether `text` can be a host: letters, digits, and . - _ %, or IPv6, with or
// without brackets; at most 253 bytes, and at least one before a %.
bool IsHost(absl::string_view text);

// Whether `host` stands for all interfaces: 0.0.0.0, ::, or none. It can be
// bound, not dialled.
bool IsWildcard(absl::string_view host);

// "host:port", with brackets around an IPv6 host.
std::string JoinHostPort(absl::string_view host, int port);

// Splits "host:port" or "[ipv6]:port". False if it is neither, or the port is
// not 1 to 65535. The host may be empty: all interfaces.
bool SplitHostPort(absl::string_view text, std::string* host, int* port);

// Whether only this machine can reach `host`: 127.x.x.x, also as
// ::ffff:127.x.x.x, ::1, localhost.
bool IsLoopback(absl::string_view host);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_PLACE_H_
