#ifndef MYCELIUM_BUS_HELLO_RULES_H_
#define MYCELIUM_BUS_HELLO_RULES_H_

#include <cstddef>
#include <optional>
#include <string>

#include "mycelium/bus/endpoint_options.h"
#include "mycelium/schema/digest.h"
#include "proto/mycelium/v1/handshake.pb.h"

namespace mycelium {

// What a Hello may hold, and what is wrong with one, whoever else is connected.
// Pure functions.

// What the services of a node may take of its Hello: all that a topology can
// name. With as much of everything else as there can be, that is less than
// kHandshakeBytesMax.
inline constexpr size_t kServicesBytesMax = 32 * 1024;

// What one takes of that.
size_t ServiceBytes(const std::string& name,
                    const std::optional<Digest>& schema_digest);

// For the node `self`: its version, names and numbers, and whom it is for.
std::optional<v1::Reject> JudgeHello(const v1::Hello& theirs,
                                     const std::string& self);

// At an endpoint that was bound by hand: whether a service of theirs was given
// another digest.
std::optional<v1::Reject> JudgeHelloAt(const v1::Hello& theirs,
                                       const EndpointOptions& endpoint);

}  // namespace mycelium

#endif  // MYCELIUM_BUS_HELLO_RULES_H_
