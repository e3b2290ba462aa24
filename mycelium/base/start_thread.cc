#include "mycelium/base/start_thread.h"

#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mycelium {

absl::StatusOr<std::thread> StartThread(absl::string_view what,
                                        std::function<void()> run) {
  try {
    return std::thread(std::move(run));
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(absl::StrCat(
        what, ": no thread could be started: ", error.code().message(),
        "; look at pids.max of the cgroup, at RLIMIT_NPROC (ulimit -u), and at "
        "the memory that is left for a stack"));
  }
}

}  // namespace mycelium
