#ifndef MYCELIUM_BASE_TYPED_IN_H_
#define MYCELIUM_BASE_TYPED_IN_H_

#include "absl/status/status.h"

namespace mycelium {

// For programs that are given paths. `bazel run` starts a program elsewhere,
// and says in BUILD_WORKING_DIRECTORY where it was typed: that is what a
// relative path means. Makes it the working directory of this process; does
// nothing without the variable. An error if that cannot be done.
//
// Thread safety: of main(), before there are threads.
absl::Status EnterDirectoryTypedIn();

}  // namespace mycelium

#endif  // MYCELIUM_BASE_TYPED_IN_H_
