#ifndef MYCELIUM_TRANSPORT_LANE_REFIT_H_
#define MYCELIUM_TRANSPORT_LANE_REFIT_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "mycelium/codec/frame_format.h"

namespace mycelium {

// For a range in a lossless lane that started or ended at `sequence` before
// Lane::Refit() took these frames out: where it does so now. Of the frames that
// are left, it has the same as before.
inline uint64_t SequenceAfterRefit(const std::vector<FrameHeader>& taken_out,
                                   uint64_t sequence) {
  return sequence + static_cast<uint64_t>(
                        std::count_if(taken_out.begin(), taken_out.end(),
                                      [sequence](const FrameHeader& frame) {
                                        return frame.lane_sequence >= sequence;
                                      }));
}

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_REFIT_H_
