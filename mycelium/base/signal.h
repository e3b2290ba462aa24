#ifndef MYCELIUM_BASE_SIGNAL_H_
#define MYCELIUM_BASE_SIGNAL_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "mycelium/base/fd.h"
#include "mycelium/base/sys.h"

namespace mycelium {

// A descriptor that is readable when something has happened, for the epoll of
// somebody else.
//
// Thread safety: all members may be called from any thread.
class Signal final {
 public:
  static absl::StatusOr<std::shared_ptr<Signal>> Create(Sys& sys) {
    const int64_t made = sys.EventFd();
    if (made < 0) return ErrnoStatus(made, "eventfd");
    return std::make_shared<Signal>(sys, Fd(sys, static_cast<int>(made)));
  }

  Signal(Sys& sys, Fd descriptor)
      : sys_(sys), descriptor_(std::move(descriptor)) {}

  int descriptor() const { return descriptor_.get(); }

  // Makes the descriptor unreadable. False: it was armed already, and was not
  // raised since.
  bool Arm() {
    if (armed_.exchange(true)) return false;
    uint64_t count;
    (void)sys_.Read(descriptor_.get(), &count, sizeof count);
    return true;
  }

  // Makes it readable.
  void Raise() {
    armed_.store(false);
    const uint64_t one = 1;
    (void)sys_.Write(descriptor_.get(), &one, sizeof one);
  }

 private:
  Sys& sys_;
  const Fd descriptor_;
  std::atomic<bool> armed_{false};
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_SIGNAL_H_
