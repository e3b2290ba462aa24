#include "mycelium/routing/staging_feed.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/codec/frame_encoder.h"

namespace mycelium {

absl::StatusOr<std::shared_ptr<StagingFeed>> StagingFeed::Create(
    Environment& environment, Link& link, uint32_t lane, size_t lane_bytes) {
  if (lane_bytes > kLaneBytesMax || lane_bytes < kRingBytesMin ||
      (lane_bytes & (lane_bytes - 1)) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a lane of ", lane_bytes, " bytes; a power of two from ",
                     kRingBytesMin, " to ", kLaneBytesMax, " is accepted"));
  }
  // Frames lie otherwise here than in the lane, so more may be lost to pads.
  absl::StatusOr<Mapping> memory =
      Mapping::Private(environment.sys, 2 * lane_bytes);
  if (!memory.ok()) return memory.status();
  return std::shared_ptr<StagingFeed>(
      new StagingFeed(*std::move(memory), link, lane));
}

bool StagingFeed::Put(const Origin& origin, const FrameView& frame,
                      uint64_t end) {
  FrameFields fields;
  fields.digest_prefix = OriginWord(origin);
  fields.publisher_sequence = frame.header.publisher_sequence;
  fields.publisher_id = frame.header.publisher_id;
  fields.flags = frame.header.flags & (kFramePublishTime | kFrameRedelivered);
  fields.lost_before = LostBeforeWord(frame);
  fields.publish_time_ns = frame.publish_time_ns;
  const size_t bytes = EncodedFrameBytes(fields, frame.payload.size());
  if (bytes > writer_.frame_bytes_max()) return false;
  const absl::Span<std::byte> room = writer_.TryClaim(bytes);
  if (room.empty()) return false;
  const absl::Span<std::byte> payload =
      EncodeFrame(fields, /*lane_sequence=*/end, frame.payload.size(), room);
  if (!payload.empty()) {
    std::memcpy(payload.data(), frame.payload.data(), payload.size());
  }
  writer_.Commit();
  return true;
}

void StagingFeed::End() {
  ended_.store(true, std::memory_order_release);
  MutexLock lock(link_mutex_);
  link_ = nullptr;
}

void StagingFeed::Release(const FrameHeader& last) {
  reader_.Release();
  MutexLock lock(link_mutex_);
  if (link_ != nullptr) link_->NoteHandled(lane_, last.lane_sequence);
}

}  // namespace mycelium
