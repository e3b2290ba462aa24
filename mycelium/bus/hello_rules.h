#ifndef MYCELIUM_BUS_HELLO_RULES_H_
#define MYCELIUM_BUS_HELLO_RULES_H_

#include <optional>
#include <string>

#include "mycelium/bus/endpoint_options.h"
#include "proto/mycelium/v1/handshake.pb.h"

namespace mycelium {

// What is wrong with a Hello, whoever else is connected. Pure functions.

// For the node `self`: its version, names and numbers.
std::optional<v1::Reject> JudgeHello(const v1::Hello& theirs,
                                     const std::string& self);

// At an endpoint that was bound by hand: whether a service of theirs was given
// another digest.
std::optional<v1::Reject> JudgeHelloAt(const v1::Hello& theirs,
                                       const EndpointOptions& endpoint);

}  // namespace mycelium

#endif  // MYCELIUM_BUS_HELLO_RULES_H_
