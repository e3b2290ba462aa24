#ifndef MYCELIUM_TOPOLOGY_PLACE_H_
#define MYCELIUM_TOPOLOGY_PLACE_H_

#include <string>

#include "absl/strings/string_view.h"
#include "mycelium/topology/environment.h"

namespace mycelium {

// Two nodes are at one place if their hosts mean one machine as far as the
// file can tell: names are compared, never resolved.

// The host in comparable form: lower case, no brackets around IPv6, no dot at
// the end; empty for no host, localhost, 127.0.0.1, ::1 and the name of this
// machine.
std::string PlaceOf(absl::string_view host, const LocalIdentity& self);

// Whether `text` can be a host: letters, digits, and . - _ %, or IPv6, with or
// without brackets; at most 253 bytes.
bool IsHost(absl::string_view text);

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
