#ifndef MYCELIUM_TRANSPORT_LANE_LANE_PUBLISHING_H_
#define MYCELIUM_TRANSPORT_LANE_LANE_PUBLISHING_H_

#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/types/span.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/transport/lane/lane.h"

namespace mycelium {

// The members of Lane that each message passes, inline: see lane.h.

inline bool Lane::ClaimLocked(size_t frame_bytes) {
  return ABSL_PREDICT_TRUE(frame_bytes <= frame_bytes_max() &&
                           !closed_.load(std::memory_order_relaxed) &&
                           writer_.TryClaimFrom(frame_bytes));
}

inline Lane::ClaimResult Lane::TryClaimFrom(size_t payload_bytes) {
  const size_t frame_bytes = sizeof(FrameHeader) + payload_bytes;
  mutex_.Lock();
  return ClaimLocked(frame_bytes) ? ClaimResult::kClaimed
                                  : UnlockUnclaimed(frame_bytes);
}

// Always, as RingWriter::CommitFrom().
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void Lane::WriteFrom(
    FrameHeader* header, absl::Span<const std::byte> payload) {
  header->lane_sequence = ++sequence_;
  header->lost_before =
      shared_ == nullptr
          ? 0
          : options_.control_count->load(std::memory_order_relaxed);
  // Published by the commit word, with which the reader's answer pairs.
  committing_.store(writer_.claimed_end(), std::memory_order_relaxed);
  writer_.CommitFrom(*header, payload);
  NoteCommitted();
}

inline void Lane::CommitFrom(FrameHeader* header,
                             absl::Span<const std::byte> payload) {
  WriteFrom(header, payload);
  mutex_.Unlock();
}

template <typename Encode>
inline Lane::ClaimResult Lane::TryPublish(size_t payload_bytes,
                                          const Encode& encode) {
  assert(stage_ == nullptr);
  const size_t frame_bytes = sizeof(FrameHeader) + payload_bytes;
  const uint64_t key = mutex_.LockByKey();
  if (!ClaimLocked(frame_bytes)) return UnlockUnclaimed(frame_bytes);
  FrameHeader header = {};
  const absl::Span<const std::byte> payload = encode(&header);
  WriteFrom(&header, payload);
  mutex_.UnlockByKey(key);
  Ring();
  return ClaimResult::kClaimed;
}

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_LANE_PUBLISHING_H_
