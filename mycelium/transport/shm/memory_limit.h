#ifndef MYCELIUM_TRANSPORT_SHM_MEMORY_LIMIT_H_
#define MYCELIUM_TRANSPORT_SHM_MEMORY_LIMIT_H_

#include <cstddef>

#include "absl/status/status.h"
#include "mycelium/base/sys.h"

namespace mycelium {

// RESOURCE_EXHAUSTED if reserving `bytes` would bring the process's memory
// cgroup, or one around it, near its limit: there the kernel does not refuse,
// it kills. OK where no limit is found.
absl::Status CheckMemoryLimit(Sys& sys, size_t bytes);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_SHM_MEMORY_LIMIT_H_
