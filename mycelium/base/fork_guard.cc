#include "mycelium/base/fork_guard.h"

#include <pthread.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "mycelium/base/own_descriptors.h"

namespace mycelium {

std::atomic<uint32_t> ForkGuard::generation_{1};
std::atomic<int32_t> ForkGuard::process_id_{0};
// Registers when the program is loaded: at the first guard, another thread
// could fork in the middle of that.
const bool ForkGuard::is_registered_ = Register();

bool ForkGuard::Register() {
  process_id_.store(getpid(), std::memory_order_relaxed);
  // It fails if there is no memory, which ends the process, as if `new` found
  // none.
  if (pthread_atfork(nullptr, nullptr, &AfterForkInChild) != 0) std::abort();
  return true;
}

// Other threads may have held any lock at the fork, so it takes none.
void ForkGuard::AfterForkInChild() {
  process_id_.store(getpid(), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_relaxed);
  CloseOwnDescriptors();
}

absl::Status ForkGuard::Check(absl::string_view node) const {
  if (!is_inherited()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("bus of node ", node, " was made in process ", process_,
                   ", before fork(), and cannot be used in process ",
                   process_id_.load(std::memory_order_relaxed),
                   "; make buses after forking, or exec"));
}

void ForkGuard::Keep(Kept* kept) {
  static std::atomic<Kept*> all{nullptr};
  kept->next = all.load(std::memory_order_relaxed);
  // Release: a thread that forks, or a search for leaks, follows the list.
  while (!all.compare_exchange_weak(kept->next, kept, std::memory_order_release,
                                    std::memory_order_relaxed)) {
  }
}

}  // namespace mycelium
