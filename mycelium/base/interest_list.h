#ifndef MYCELIUM_BASE_INTEREST_LIST_H_
#define MYCELIUM_BASE_INTEREST_LIST_H_

#include <atomic>
#include <cstdint>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "mycelium/base/fd.h"
#include "mycelium/base/mutex.h"
#include "mycelium/base/sys.h"

namespace mycelium {

// An epoll and the descriptors it is to watch. Some of these may be out of it
// for a while.
//
// Why out. The kernel calls every epoll that watches a socket for each message
// that is written to it, and again when its own message was read at the other
// end, whether or not anybody sleeps there and whatever events were asked for.
// The writer and the reader pay for that (docs/benchmarks.md). Only a socket
// that is not in the epoll is spared, and the code that takes it out has to
// look at it itself. To take one out and put it back costs two to three
// microseconds.
//
// Invariants: a descriptor that waits for anything but EPOLLIN is in. After
// Pin() all are in. Either can fail only if the kernel refuses to take one.
//
// Thread safety: all members may be called from any thread.
//
// Ownership: borrows `sys`.
class InterestList final {
 public:
  InterestList(Sys& sys, Fd epoll) : sys_(sys), epoll_(std::move(epoll)) {}

  // The descriptor of the epoll.
  int fd() const { return epoll_.get(); }

  // Watches `fd` for `events`, until Remove().
  absl::Status Add(int fd, uint32_t events);

  // Watches for other events. One that is out stays out if EPOLLIN is all it
  // waits for.
  absl::Status Change(int fd, uint32_t events);

  // No error if it is not watched.
  void Remove(int fd);

  // Nothing happens if it must be in, or is not watched.
  void TakeOut(int fd);

  // Puts back that one, or all. The next wait reports a descriptor that is
  // ready, since the kernel does not care when it became so. After an error
  // those are out that the kernel refused.
  absl::Status PutBack(int fd);
  absl::Status PutBack();

  // Puts all back for good.
  absl::Status Pin();

  bool IsOut(int fd) const;
  bool has_out() const { return out_.load(std::memory_order_relaxed) > 0; }

 private:
  struct Interest {
    uint32_t events = 0;
    bool is_out = false;
  };

  absl::Status PutBackLocked(int fd, Interest& interest)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PutAllBackLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int64_t Control(int operation, int fd, uint32_t events);

  Sys& sys_;
  const Fd epoll_;

  mutable Mutex mutex_;  // Held while the kernel is told.
  absl::flat_hash_map<int, Interest> interests_ ABSL_GUARDED_BY(mutex_);
  bool pinned_ ABSL_GUARDED_BY(mutex_) = false;
  // How many are out; changed under the lock. Relaxed: only the thread that
  // takes out and puts back relies on it.
  std::atomic<int> out_{0};
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_INTEREST_LIST_H_
