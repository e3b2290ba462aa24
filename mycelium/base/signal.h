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
// Invariant: once no Raise() is under way, it is not both armed and readable.
// So Arm() makes a readable one unreadable, and a thread that sleeps on it does
// not find it readable again and again. That is why Raise() writes before it
// stores that it did: an Arm() in between either leaves what was written, and
// then the signal is not armed in the end, or reads it. Nothing may be left of
// a Raise() that began before Arm() had returned, so a caller that arms has to
// look afterwards.
//
// Thread safety: all members may be called from any thread, Arm() by one at a
// time.
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

  // Makes the descriptor unreadable.
  void Arm() {
    if (armed_.exchange(true)) return;
    uint64_t count;
    (void)sys_.Read(descriptor_.get(), &count, sizeof count);
  }

  // Makes it readable.
  void Raise() {
    const uint64_t one = 1;
    (void)sys_.Write(descriptor_.get(), &one, sizeof one);
    armed_.store(false);
  }

 private:
  Sys& sys_;
  const Fd descriptor_;
  std::atomic<bool> armed_{false};
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_SIGNAL_H_
