#ifndef MYCELIUM_TOPOLOGY_ENVIRONMENT_H_
#define MYCELIUM_TOPOLOGY_ENVIRONMENT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "mycelium/base/sys.h"

namespace mycelium {

// The value of an environment variable, or nothing if it is not set.
using EnvLookup =
    std::function<std::optional<std::string>(const std::string& name)>;

// Looks into the environment of this process.
EnvLookup ProcessEnvironment();

// What a topology's meaning depends on besides its text: which user reads it,
// and on which machine. Two processes with equal values read one file the same
// way.
struct LocalIdentity {
  std::string host_name;  // A node with this host is on this machine.
  int64_t uid = 0;        // Part of the default socket directory.
};

// The identity of this process.
LocalIdentity ReadLocalIdentity(Sys& sys);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_ENVIRONMENT_H_
