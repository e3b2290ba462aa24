#include "mycelium/transport/inbound_ring.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mycelium {

InboundRing::InboundRing(std::shared_ptr<LaneMemory> memory,
                         const Options& options)
    : memory_(std::move(memory)),
      positions_(memory_->positions()),
      options_(options),
      reader_(memory_->bytes(), positions_.ring, kFrameFlagsOnWire),
      next_sequence_(options.next_sequence),
      taken_(options.lossy ? options.next_sequence - 1 : options.position),
      handled_(taken_.load()) {
  copied_.resize(kCopiedBytesMax);
  if (options.lossy) {
    lossy_reader_.emplace(memory_->bytes(), positions_.lossy,
                          kFrameFlagsOnWire);
  } else {
    reader_.StartAt(options.position);
  }
}

InboundRing::Look InboundRing::Peek(uint32_t controls_seen, FrameView* view,
                                    uint64_t* end) {
  if (!is_pending_) {
    const Look look = Next();
    if (look != Look::kFrame) return look;
  }
  if (!MaySee(controls_seen)) return Look::kNotYet;
  *view = pending_;
  *end = pending_end_;
  return Look::kFrame;
}

InboundRing::Look InboundRing::Next() {
  if (lossy_reader_.has_value()) {
    ReleaseHandled();
    if (holds_) return Look::kEmpty;
  }
  const RingReader::Result result = lossy_reader_.has_value()
                                        ? lossy_reader_->Poll(&pending_)
                                        : reader_.Poll(&pending_);
  if (result == RingReader::Result::kEmpty) return Look::kEmpty;
  if (result == RingReader::Result::kCorrupt) {
    return Corrupt(options_.lossy ? "no frame starts where `next` is"
                                  : absl::StrCat("no frame starts at position ",
                                                 reader_.cursor()));
  }
  const FrameHeader& header = pending_.header;
  const uint64_t sequence = header.lane_sequence;
  if (options_.lossy ? sequence < next_sequence_ : sequence != next_sequence_) {
    return Corrupt(absl::StrCat("a frame has sequence ", sequence,
                                ", expected ", next_sequence_));
  }
  if (header.frame_bytes > options_.frame_bytes_max) {
    return Corrupt(absl::StrCat("frame ", sequence, " has ", header.frame_bytes,
                                " bytes; at most ", options_.frame_bytes_max,
                                " are allowed"));
  }
  stamp_ = header.lost_before;
  pending_.lost_before = sequence - next_sequence_;
  if (sequence < options_.redelivered_until) {
    pending_.header.flags |= kFrameRedelivered;
  }
  pending_end_ = options_.lossy ? sequence : reader_.cursor();
  CopyOut();
  is_pending_ = true;
  return Look::kFrame;
}

InboundRing::Look InboundRing::Corrupt(std::string what) {
  error_ = absl::StrCat("lane ", options_.lane,
                        " in shared memory: ", std::move(what));
  return Look::kCorrupt;
}

void InboundRing::CopyOut() {
  const size_t extension = AlignedFrameBytes(pending_.extension.size());
  const size_t bytes = extension + pending_.payload.size();
  if (bytes > kCopiedBytesMax && !options_.copies_all) return;
  if (bytes > copied_.size()) copied_.resize(bytes);
  // They follow one another in the frame.
  std::memcpy(copied_.data(), pending_.payload.data() - extension, bytes);
  pending_.extension =
      absl::MakeConstSpan(copied_.data(), pending_.extension.size());
  pending_.payload =
      absl::MakeConstSpan(copied_.data() + extension, pending_.payload.size());
}

void InboundRing::Pop(bool handled) {
  is_pending_ = false;
  next_sequence_ = pending_.header.lane_sequence + 1;
  taken_.store(pending_end_, std::memory_order_release);
  holds_ = options_.lossy;
  if (handled) NoteHandled(pending_end_);
  if (holds_) ReleaseHandled();
}

void InboundRing::NoteHandled(uint64_t end) {
  uint64_t before = handled_.load(std::memory_order_relaxed);
  while (before < end && !handled_.compare_exchange_weak(
                             before, end, std::memory_order_acq_rel)) {
  }
  if (before >= end || options_.lossy) return;
  // Of two that store, the later may have the lower one.
  std::atomic<uint64_t>& released = positions_.ring.released;
  uint64_t told = released.load(std::memory_order_relaxed);
  // Release: pairs with the load in RingWriter::Fits().
  while (told < end && !released.compare_exchange_weak(
                           told, end, std::memory_order_release)) {
  }
}

void InboundRing::ReleaseHandled() {
  if (!holds_ || handled() < taken_.load(std::memory_order_relaxed)) return;
  lossy_reader_->Release();
  holds_ = false;
}

bool InboundRing::TakeWriterWaits() {
  if (options_.lossy) ReleaseHandled();
  return positions_.TakeWriterWaits(handled());
}

bool InboundRing::PrepareSleep(uint32_t controls_seen) {
  positions_.Sleep();
  if (paused || !active) return false;  // Somebody wakes the loop later.
  if (is_pending_) return MaySee(controls_seen);
  if (!options_.lossy) return reader_.HasFrame();
  ReleaseHandled();
  return !holds_ && lossy_reader_->HasFrame();
}

bool InboundRing::IsDrained(uint32_t controls_seen) {
  if (is_pending_) return !MaySee(controls_seen);
  if (!options_.lossy) return !reader_.HasFrame();
  ReleaseHandled();
  return !holds_ && !lossy_reader_->HasFrame();
}

}  // namespace mycelium
