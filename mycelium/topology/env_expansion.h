#ifndef MYCELIUM_TOPOLOGY_ENV_EXPANSION_H_
#define MYCELIUM_TOPOLOGY_ENV_EXPANSION_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mycelium/topology/environment.h"

namespace mycelium {

// `text` with each ${NAME} replaced by the variable's value, which is not
// expanded again. A $ that no { follows stands for itself.
//   NOT_FOUND         a variable is not set; names it
//   INVALID_ARGUMENT  "${" without "}", or NAME is not a variable name
absl::StatusOr<std::string> ExpandEnv(absl::string_view text,
                                      const EnvLookup& env);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_ENV_EXPANSION_H_
