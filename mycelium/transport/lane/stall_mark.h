#ifndef MYCELIUM_TRANSPORT_LANE_STALL_MARK_H_
#define MYCELIUM_TRANSPORT_LANE_STALL_MARK_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace mycelium {

// Remembers that a publisher waited for a lane in vain, and how long: nobody
// waits as long again for a reader that has not moved since.
//
// Thread safety: all members may be called from any thread. If two threads set
// it at one moment, the shorter wait may be remembered: then somebody waits
// once more.
class StallMark final {
 public:
  // A wait ran out after so long, when the reader had released that much.
  void Set(uint64_t released, int64_t waited_ns) {
    const bool is_still = at_.load() == released + 1;
    waited_ns_.store(is_still ? std::max(waited_ns, waited_ns_.load())
                              : waited_ns);
    at_.store(released + 1);
  }
  // Whether a wait of that length would be in vain again.
  bool Holds(uint64_t released, int64_t wait_ns) const {
    return at_.load() == released + 1 && wait_ns <= waited_ns_.load();
  }
  void Clear() { at_.store(0); }

 private:
  std::atomic<uint64_t> at_{0};  // One more than `released`; 0: not set.
  std::atomic<int64_t> waited_ns_{0};
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_STALL_MARK_H_
