#include "mycelium/routing/staging_feed.h"

#include <algorithm>
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
  // Frames lie differently here than in the lane, so more may be lost to pads.
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
  absl::Span<const std::byte> bytes = frame.payload;
  const Elsewhere elsewhere = {bytes.data(), bytes.size()};
  if (CanPointTo(frame)) {
    fields.flags |= kFrameElsewhere;
    bytes = absl::MakeConstSpan(reinterpret_cast<const std::byte*>(&elsewhere),
                                sizeof elsewhere);
  }
  const size_t frame_bytes = EncodedFrameBytes(fields, bytes.size());
  if (frame_bytes > writer_.frame_bytes_max()) return false;
  const absl::Span<std::byte> room = writer_.TryClaim(frame_bytes);
  if (room.empty()) return false;
  const absl::Span<std::byte> payload =
      EncodeFrame(fields, /*lane_sequence=*/end, bytes.size(), room);
  if (!bytes.empty()) std::memcpy(payload.data(), bytes.data(), bytes.size());
  writer_.Commit();
  return true;
}

bool StagingFeed::CanPointTo(const FrameView& frame) {
  if (frame.memory == nullptr) return false;
  if (std::find(pointed_to_.begin(), pointed_to_.end(), *frame.memory) !=
      pointed_to_.end()) {
    return true;
  }
  if (pointed_to_.size() == kPointedToMax) {
    // Acquire: pairs with the store in RingReader::Release(). Nobody reads
    // there any more.
    if (positions_.released.load(std::memory_order_acquire) !=
        writer_.position()) {
      return false;
    }
    pointed_to_.clear();
  }
  pointed_to_.push_back(*frame.memory);
  return true;
}

bool StagingFeed::Skip(uint64_t end) {
  MutexLock lock(link_mutex_);
  // Acquire: as in CanPointTo(). The thread that released the last frame may
  // have yet to report it; the later report holds for both.
  if (positions_.released.load(std::memory_order_acquire) ==
      writer_.position()) {
    return true;
  }
  skipped_end_ = end;
  skipped_behind_ = writer_.position();
  return false;
}

void StagingFeed::End() {
  SetEnded();
  MutexLock lock(link_mutex_);
  link_ = nullptr;
  LetGoIfEmpty();
}

void StagingFeed::Release(const FrameHeader& last) {
  reader_.Release();
  MutexLock lock(link_mutex_);
  if (link_ != nullptr) {
    // After a release this is not 0.
    const uint64_t released =
        positions_.released.load(std::memory_order_relaxed);
    link_->NoteHandled(
        lane_, released == skipped_behind_ ? skipped_end_ : last.lane_sequence);
  } else {
    LetGoIfEmpty();
  }
}

void StagingFeed::LetGoIfEmpty() {
  if (positions_.released.load(std::memory_order_acquire) ==
      writer_.position()) {
    pointed_to_.clear();
  }
}

}  // namespace mycelium
