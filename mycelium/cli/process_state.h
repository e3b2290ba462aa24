#ifndef MYCELIUM_CLI_PROCESS_STATE_H_
#define MYCELIUM_CLI_PROCESS_STATE_H_

#include <cstdint>

#include "mycelium/base/sys.h"

namespace mycelium {

// Whether /proc says that the process is stopped, by a signal or by a tracer.
// False if nothing is known of it.
bool IsStopped(Sys& sys, int64_t pid);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_PROCESS_STATE_H_
