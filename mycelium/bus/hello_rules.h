#ifndef MYCELIUM_BUS_HELLO_RULES_H_
#define MYCELIUM_BUS_HELLO_RULES_H_

#include <cstddef>
#include <optional>
#include <string>

#include "mycelium/bus/endpoint_options.h"
#include "mycelium/schema/digest.h"
#include "proto/mycelium/v1/handshake.pb.h"

namespace mycelium {

// What a Hello may hold, and what is wrong with one, regardless of which other
// nodes are connected. Pure functions.

// How many bytes of its Hello the services of a node may take: enough for all
// that a topology can name. Together with the most that everything else can
// take, that is less than kHandshakeBytesMax.
inline constexpr size_t kServicesBytesMax = 32 * 1024;

// How many of those bytes one service takes.
size_t ServiceBytes(const std::string& name,
                    const std::optional<Digest>& schema_digest);

// Judges a Hello to the node `self`: its version, names and numbers, and which
// node it is meant for.
std::optional<v1::Reject> JudgeHello(const v1::Hello& theirs,
                                     const std::string& self);

// Judges a Hello at an endpoint that was bound by hand: whether a service of
// the peer was given another digest.
std::optional<v1::Reject> JudgeHelloAt(const v1::Hello& theirs,
                                       const EndpointOptions& endpoint);

}  // namespace mycelium

#endif  // MYCELIUM_BUS_HELLO_RULES_H_
