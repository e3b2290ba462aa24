// The part of Lane that makes it fit for a reader that takes smaller frames.
#include <algorithm>

#include "mycelium/base/shared_word.h"
#include "mycelium/transport/lane/lane.h"
#include "mycelium/transport/lane/refit.h"

namespace mycelium {

std::vector<FrameHeader> Lane::Refit(size_t frame_bytes_max) {
  std::vector<FrameHeader> taken_out;
  {
    MutexLock move_lock(move_mutex_);
    MutexLock lock(mutex_);
    // A stage has no room for more than it was made for.
    const size_t most =
        stage_ == nullptr ? capacity_bytes() / 2 : options_.frame_bytes_max;
    frame_bytes_max_.store(std::min(frame_bytes_max, most),
                           std::memory_order_relaxed);
    RefitRing(&taken_out);
    if (stage_ != nullptr) RefitStage(&taken_out);
  }
  if (!taken_out.empty()) NotifyReleased();
  return taken_out;
}

void Lane::RefitRing(std::vector<FrameHeader>* taken_out) {
  const size_t most = this->frame_bytes_max();
  const uint64_t end = committed();
  std::vector<std::vector<std::byte>> left;
  // Sequences of a lossy lane have gaps, by which no frame is told from others.
  const uint64_t start =
      stage_ == nullptr ? FirstSoundFrom(released()) : released();
  for (uint64_t at = start; at < end;) {
    const Run run = CommittedFrom(at);
    FrameHeader header = {};
    if (run.bytes.size() >= sizeof header) {
      CopyFromShared(&header, run.bytes.data(), sizeof header);
    }
    if (header.frame_bytes < sizeof header ||
        header.frame_bytes > run.bytes.size()) {
      taken_out->clear();  // A reader that is mad has said where it starts.
      return;
    }
    if (header.frame_bytes > most) {
      taken_out->push_back(header);
    } else {
      left.emplace_back(header.frame_bytes);
      CopyFromShared(left.back().data(), run.bytes.data(), left.back().size());
    }
    at = run.position + AlignedFrameBytes(header.frame_bytes);
  }
  if (taken_out->empty()) return;
  ForgetReleased();
  if (stage_ != nullptr && moved_count_ > 0 &&
      MovedAt(0).sequence == taken_out->front().lane_sequence) {
    // The one that is suspected: the first that was not handled.
    suspected_ = 0;
  }
  moved_first_ = moved_count_ = 0;
  last_released_.end = end;
  // Before `released`, so that what is left is never taken for handled.
  refitted_end_.store(~uint64_t{0}, std::memory_order_relaxed);
  refitted_until_.store(end, std::memory_order_relaxed);
  released_check_.Begin(end, [&] {
    // Release: pairs with the load in IsOver().
    positions_->ring.released.store(end, std::memory_order_release);
  });
  // The frames have room: the one pad that they may need more than before is
  // smaller than a frame that was taken out.
  uint64_t sequence = sequence_ - left.size();
  for (const std::vector<std::byte>& frame : left) {
    FrameHeader header;
    CopyFromShared(&header, frame.data(), sizeof header);
    if (stage_ == nullptr) header.lane_sequence = ++sequence;
    (void)writer_.TryClaim(frame.size());
    committing_.store(writer_.claimed_end(), std::memory_order_relaxed);
    writer_.CommitFrom(header,
                       absl::MakeConstSpan(frame).subspan(sizeof header));
    NoteCommitted();
    if (stage_ != nullptr) {
      MovedAt(moved_count_++) = {committed(), header.lane_sequence};
    }
  }
  refitted_bytes_ += committed() - end;
  refitted_end_.store(committed(), std::memory_order_relaxed);
  // A mark that was taken meanwhile lies between frames that are rewritten, and
  // was to be behind all of them.
  refitted_until_.store(committed(), std::memory_order_relaxed);
  if (stage_ != nullptr) return;
  redelivered_until_.store(SequenceAfterRefit(*taken_out, redelivered_until()),
                           std::memory_order_release);
  for (const FrameHeader& frame : *taken_out) {
    if (frame.lane_sequence == suspect_) suspected_ = 0;
  }
  suspect_ = SequenceAfterRefit(*taken_out, suspect_);
}

uint64_t Lane::MarkAfterRefit(uint64_t mark) const {
  if (mark > refitted_until_.load(std::memory_order_relaxed)) return mark;
  return std::max(mark, refitted_end_.load(std::memory_order_relaxed));
}

void Lane::RefitStage(std::vector<FrameHeader>* taken_out) {
  const size_t before = taken_out->size();
  if (!stage_->Refit(this->frame_bytes_max(), taken_out)) return;
  for (size_t i = before; i < taken_out->size(); ++i) {
    const bool is_suspect = (*taken_out)[i].lane_sequence == suspect_;
    if (is_suspect && is_suspect_staged_) suspected_ = 0;
  }
  if (options_.window == 0) return;
  // The reader of the stage starts where the others do, with the frame that was
  // pinned.
  is_pinned_ = false;
  stage_reader_ = std::make_unique<LossyRingReader>(
      stage_->memory(), stage_->positions(), kFrameFlagsOnWire);
}

}  // namespace mycelium
