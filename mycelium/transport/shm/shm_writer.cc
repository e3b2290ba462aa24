#include "mycelium/transport/shm/shm_writer.h"

#include <algorithm>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/shared_word.h"
#include "mycelium/codec/frame_encoder.h"
#include "mycelium/transport/lane/lane.h"
#include "mycelium/transport/shm/given_memory.h"
#include "mycelium/transport/shm/memfd_memory.h"

namespace mycelium {

static_assert(ShmWriter::kPositionsBytes == MemfdMemory::kPositionsBytes);

ShmWriter::ShmWriter(std::shared_ptr<LaneMemory> memory,
                     std::shared_ptr<SharedLaneMemory> shared)
    : memory_(std::move(memory)),
      shared_(std::move(shared)),
      writer_(memory_->bytes(), memory_->positions().ring) {}

absl::StatusOr<ShmWriter> ShmWriter::Create(size_t capacity, Sys& sys) {
  if (absl::Status checked = internal::CheckCapacity(capacity, kLaneBytesMax);
      !checked.ok()) {
    return checked;
  }
  absl::StatusOr<std::shared_ptr<SharedLaneMemory>> memory =
      MemfdMemory(sys).Create(capacity);
  if (!memory.ok()) return memory.status();
  return ShmWriter(*memory, *memory);
}

absl::StatusOr<ShmWriter> ShmWriter::CreateIn(absl::Span<std::byte> ring,
                                              absl::Span<std::byte> positions) {
  for (const absl::Status& checked :
       {internal::CheckCapacity(ring.size(), kLaneBytesMax),
        internal::CheckPositions(positions, kPositionsBytes),
        internal::CheckAligned(ring.data()),
        internal::CheckAligned(positions.data())}) {
    if (!checked.ok()) return checked;
  }
  ClearShared(ring.data(), ring.size());
  return ShmWriter(std::make_shared<internal::GivenMemory>(
                       ring, *new (positions.data()) LanePositions),
                   nullptr);
}

std::array<int, 2> ShmWriter::descriptors() const {
  if (shared_ == nullptr) return {-1, -1};
  return shared_->descriptors();
}

size_t ShmWriter::message_bytes_max() const {
  return writer_.frame_bytes_max() - sizeof(FrameHeader);
}

absl::Span<std::byte> ShmWriter::TryClaim(size_t bytes) {
  claimed_ = {};
  if (bytes > message_bytes_max() || !error_.ok()) return {};
  const FrameFields fields;
  claimed_ = writer_.TryClaim(EncodedFrameBytes(fields, bytes));
  if (claimed_.empty()) {
    (void)CheckReleased();  // Finds out why it is full.
    return {};
  }
  return EncodeFrame(fields, sequence_ + 1, bytes, claimed_);
}

void ShmWriter::Commit() {
  if (claimed_.empty()) return;
  writer_.Commit();
  ++sequence_;
  claimed_ = {};
}

bool ShmWriter::TryWrite(absl::Span<const std::byte> message) {
  const absl::Span<std::byte> room = TryClaim(message.size());
  if (claimed_.empty()) return false;
  if (!message.empty()) {
    CopyToShared(room.data(), message.data(), message.size());
  }
  Commit();
  return true;
}

uint64_t ShmWriter::released() const {
  return memory_->positions().ring.released.load(std::memory_order_acquire);
}

bool ShmWriter::CheckReleased() {
  checked_released_ = std::max(checked_released_, writer_.released_seen());
  const uint64_t now = released();
  if (now >= checked_released_ && now <= position() &&
      now % kFrameAlignment == 0) {
    checked_released_ = now;
    return true;
  }
  error_ = absl::DataLossError(
      absl::StrCat("shared ring: the reader is at position ", now,
                   "; a multiple of ", kFrameAlignment, " from ",
                   checked_released_, " to ", position(), " is expected"));
  return false;
}

}  // namespace mycelium
