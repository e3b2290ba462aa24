#include "mycelium/topology/environment.h"

#include <cstdlib>

namespace mycelium {

EnvLookup ProcessEnvironment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* const value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
}

LocalIdentity ReadLocalIdentity(Sys& sys) {
  LocalIdentity self;
  self.uid = sys.GetEffectiveUid();
  char name[256] = {};
  // A machine that cannot say its name has none that a file could mean.
  if (sys.HostName(name, sizeof name - 1) >= 0) self.host_name = name;
  return self;
}

}  // namespace mycelium
