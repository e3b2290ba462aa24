#ifndef MYCELIUM_BASE_TYPED_IN_H_
#define MYCELIUM_BASE_TYPED_IN_H_

#include "absl/status/status.h"

namespace mycelium {

// For programs that are given paths. `bazel run` starts a program elsewhere,
// and says in BUILD_WORKING_DIRECTORY where the command was typed: relative
// paths start there. This makes that the working directory of the process, and
// does nothing without the variable. An error if it cannot be done.
//
// Thread safety: only for main(), before there are threads.
absl::Status EnterDirectoryTypedIn();

}  // namespace mycelium

#endif  // MYCELIUM_BASE_TYPED_IN_H_
