#ifndef MYCELIUM_BASE_START_THREAD_H_
#define MYCELIUM_BASE_START_THREAD_H_

#include <functional>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mycelium {

// Starts a thread that runs `run`. `what` is its purpose, which an error names.
// RESOURCE_EXHAUSTED: none could be started; says which limits there are.
absl::StatusOr<std::thread> StartThread(absl::string_view what,
                                        std::function<void()> run);

}  // namespace mycelium

#endif  // MYCELIUM_BASE_START_THREAD_H_
