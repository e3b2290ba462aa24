#ifndef MYCELIUM_TRANSPORT_LANE_REFIT_H_
#define MYCELIUM_TRANSPORT_LANE_REFIT_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "mycelium/codec/frame_format.h"

namespace mycelium {

// Where in a lossless lane a range starts or ends that did so at `sequence`
// before Lane::Refit() took these frames out: it has the same frames of those
// that are left.
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
