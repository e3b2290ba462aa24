#ifndef MYCELIUM_TRANSPORT_SEND_WINDOW_H_
#define MYCELIUM_TRANSPORT_SEND_WINDOW_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace mycelium {

// How much may be under way on a connection over a channel that gathers: sent,
// and not reported as received. When the connection breaks, all of that is
// lost, even what has reached the peer's host; and where connections break
// again and again, each has to bring some.
//
// Invariant: that is at most the sum of kBytesMin, half of what the connection
// has brought, and what is left of one frame. So a young connection is careful,
// and one that lives is soon limited by its lanes alone.
//
// Progress: the receiver counts what it reports by the same rule. It reports at
// the latest when half of a window, AckBytes(), is not reported. So a full
// window never waits for a timer.
//
// Thread safety: Begin() and NoteReported() on the loop, Room() on any thread.
class SendWindow final {
 public:
  static constexpr uint64_t kBytesMin = 16 * 1024;

  // A new connection.
  void Begin() { reported_.store(0, std::memory_order_relaxed); }

  // The peer has reported so many bytes more.
  void NoteReported(uint64_t bytes) {
    reported_.fetch_add(bytes, std::memory_order_relaxed);
  }

  // How much more may be sent. The last frame may go beyond that.
  uint64_t Room(uint64_t on_their_way) const {
    const uint64_t bytes =
        BytesAfter(reported_.load(std::memory_order_relaxed));
    return bytes - std::min(bytes, on_their_way);
  }

  // After how many more bytes a receiver reports again that has reported that
  // many of a connection.
  static constexpr uint64_t AckBytes(uint64_t reported) {
    return BytesAfter(reported) / 2;
  }

 private:
  static constexpr uint64_t BytesAfter(uint64_t reported) {
    return kBytesMin + reported / 2;
  }

  std::atomic<uint64_t> reported_{0};
};

// The fewest frames from the front of `frames`, which are whole, that have
// `bytes_min` together; all of them if they have less.
absl::Span<const std::byte> FramesOfAtLeast(absl::Span<const std::byte> frames,
                                            uint64_t bytes_min);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_SEND_WINDOW_H_
