#ifndef MYCELIUM_TRANSPORT_KEPT_FRAMES_H_
#define MYCELIUM_TRANSPORT_KEPT_FRAMES_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace mycelium {

// Frames of a peer's lanes that were sent and cannot be handed out now, kept so
// that what comes behind them on the connection need not wait. The peer takes
// them for not received, except that it lets nothing else wait for them: if
// they are forgotten here, they come again on the next connection. The peer
// sends no more of a lane than its ring holds; the caller must see to that
// bound when it adds frames.
//
// Thread safety: none; it belongs to the loop.
class KeptFrames final {
 public:
  bool empty() const { return lanes_.empty(); }
  bool Has(uint32_t lane) const { return lanes_.count(lane) > 0; }
  std::vector<uint32_t> Lanes() const;
  uint64_t CountFrames() const;

  // The position behind the last frame of that lane. REQUIRES: Has(lane).
  uint64_t End(uint32_t lane) const;

  // Adds the frame behind the others of its lane, with its padding.
  void Add(uint32_t lane, uint64_t position, absl::Span<const std::byte> frame);

  // The first frame of that lane, at `position`, and perhaps others behind it.
  // Valid until the lane changes. REQUIRES: Has(lane).
  struct First {
    uint64_t position;
    absl::Span<const std::byte> bytes;
  };
  First Front(uint32_t lane) const;
  // Takes that frame away, which has `bytes` bytes. Does nothing if the lane
  // was dropped meanwhile.
  void Pop(uint32_t lane, size_t bytes);

  void Drop(uint32_t lane) { lanes_.erase(lane); }
  void Clear() {
    lanes_.clear();
    untold_bytes_ = 0;
  }

  // How many bytes were added since the peer was told how far the frames go.
  uint64_t untold_bytes() const { return untold_bytes_; }
  void NoteTold() { untold_bytes_ = 0; }

 private:
  // Frames that lie side by side in the peer's ring.
  struct Run {
    uint64_t position;  // Of the first byte.
    std::string bytes;
    size_t taken = 0;  // Of them, from the front.
  };
  struct Lane {
    std::deque<Run> runs;  // Not empty, and none is all taken.
    uint64_t frames = 0;
  };

  std::map<uint32_t, Lane> lanes_;
  uint64_t untold_bytes_ = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_KEPT_FRAMES_H_
