// The part of Lane that finds where frames start, when a reader that may be
// wrong has said where it is.
#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "mycelium/base/shared_word.h"
#include "mycelium/transport/lane/lane.h"

namespace mycelium {
namespace {

std::string LostLength(uint64_t position) {
  return absl::StrCat("the frame at position ", position,
                      ", up to which the reader has come, has lost its length");
}

// Zero if there is none.
FrameHeader HeaderAt(const Lane::Run& run) {
  FrameHeader header = {};
  if (run.bytes.size() >= sizeof header) {
    CopyFromShared(&header, run.bytes.data(), sizeof header);
  }
  return header;
}

// The frames that were committed from `from` to `until`, where frames are sound
// again; the last frame before the end has `last_sequence`.
// Headers say how long frames are and of which publisher, as far as that leads
// from one frame to the next; the sequences are counted back. Where the headers
// do not lead on there is at least one frame: the sequences say how many, or
// nothing does.
std::vector<FrameHeader> DamagedFrames(const Lane& lane, uint64_t from,
                                       uint64_t until, uint64_t last_sequence) {
  std::vector<FrameHeader> frames;
  if (from == until) return frames;
  bool leads_on = true;
  for (uint64_t at = from; leads_on && at < until;) {
    const Lane::Run run = lane.CommittedFrom(at);
    frames.push_back(HeaderAt(run));
    const size_t frame_bytes = frames.back().frame_bytes;
    at = run.position + AlignedFrameBytes(frame_bytes);
    leads_on = frame_bytes >= sizeof(FrameHeader) && at <= until;
  }
  uint64_t next_sequence =
      until == lane.committed()
          ? last_sequence + 1
          : HeaderAt(lane.CommittedFrom(until)).lane_sequence;
  if (!leads_on && frames[0].lane_sequence != 0) {
    const uint64_t count = next_sequence - frames[0].lane_sequence;
    if (count >= frames.size() && count <= (until - from) / kFrameAlignment) {
      frames.resize(count, frames[0]);
    }
  }
  for (auto frame = frames.rbegin(); frame != frames.rend(); ++frame) {
    frame->lane_sequence = --next_sequence;
  }
  return frames;
}

}  // namespace

absl::Status Lane::RenewRingReader(uint64_t seen,
                                   std::vector<FrameHeader>* lost) {
  absl::Status renewed;
  {
    MutexLock lock(mutex_);
    // If the last reader said what no reader says, that is over with it. What
    // the writer has relied on holds: other frames may lie there by now.
    std::string wrong;
    const uint64_t from = std::max(
        released_check_.Look(positions_->ring.released, committing_, &wrong),
        writer_.released_seen());
    const uint64_t start = FirstSoundFrom(from);
    *lost = DamagedFrames(*this, from, start, sequence_);
    // What the last reader took without a connection. A reader that is mad may
    // have stored any position.
    const uint64_t taken = positions_->taken.load(std::memory_order_relaxed);
    seen = std::max(seen, FirstSoundFrom(AlignedFrameBytes(
                              std::clamp(taken, start, committed()))));
    renewed = released_check_.Begin(start, [&] {
      const absl::Status fresh_made = shared_->RenewPositions(
          [&](LanePositions& fresh) { fresh.ring.released.store(start); });
      // On the old ones, if there are no fresh ones.
      positions_->ring.released.store(start);
      positions_->taken.store(start);
      return fresh_made;
    });
    corruption_.BeginReader();
    // Not only from `start` on: what is sound before it is held, too.
    loans_.TakeBackLocked(from, memory_->bytes());
  }
  BeginRedelivery(seen);
  return renewed;
}

void Lane::CheckNextFrame() {
  if (!mapped()) return;
  uint64_t next = 0;
  const auto lacks_commit_word = [&] {
    next = released();
    if (next == committed()) return false;
    // A commit word that is there tells the reader itself what is wrong with
    // the frame.
    const uint64_t word =
        LoadRacing(&writer_.memory()[next & (capacity_bytes() - 1)]);
    return static_cast<uint32_t>(word) == 0;
  };
  // At first without the lock, which is its publisher's own: the reader may go
  // on meanwhile, and another frame be written there.
  if (stage_ == nullptr && !lacks_commit_word()) return;
  MutexLock lock(mutex_);
  if (stage_ != nullptr) return CheckStage();
  if (!lacks_commit_word()) return;
  ReportCorrupt(corruption_.reader(), LostLength(next));
}

void Lane::CheckStage() {
  if (shared_ == nullptr) return;
  // Which reader that is does not change while the lane is locked.
  uint64_t position;
  if (stage_->corrupt()) {
    ReportCorrupt(
        corruption_.reader(),
        absl::StrCat(
            "`next` is ", stage_->positions().next.load(),
            "; where a frame starts that waits, or the writer, is expected"));
  } else if (mapped() && stage_->LacksCommitWord(&position)) {
    ReportCorrupt(corruption_.reader(), LostLength(position));
  }
}

uint64_t Lane::FrameStartFrom(uint64_t position) {
  MutexLock move_lock(move_mutex_);
  MutexLock lock(mutex_);
  // The reader says itself where it is.
  if (stage_ != nullptr && mapped()) return position;
  position = std::min(std::max(position, released()), committed());
  position = AlignedFrameBytes(position);
  if (stage_ == nullptr) return FirstSoundFrom(position);
  // Sequences of a lossy lane have gaps, but it is known where frames end.
  ForgetReleased();
  if (position <= last_released_.end) return last_released_.end;
  for (size_t i = 0; i < moved_count_; ++i) {
    if (MovedAt(i).end >= position) return MovedAt(i).end;
  }
  return committed();
}

void Lane::VisitRing(uint64_t from,
                     absl::FunctionRef<void(const FrameHeader&)> visit) {
  const uint64_t end = committed();
  // A position that a peer has named need not be one.
  for (uint64_t at = AlignedFrameBytes(std::max(from, released())); at < end;) {
    const Run run = CommittedFrom(at);
    const FrameHeader header = HeaderAt(run);
    if (header.frame_bytes >= sizeof header &&
        AlignedFrameBytes(header.frame_bytes) <= run.bytes.size()) {
      visit(header);
      at = run.position + AlignedFrameBytes(header.frame_bytes);
      continue;
    }
    // The frames are damaged, and were accepted all the same. Or the reader,
    // which named the place, is mad.
    const uint64_t sound = FirstSoundFrom(at);
    for (const FrameHeader& damaged :
         DamagedFrames(*this, at, sound, sequence_)) {
      visit(damaged);
    }
    at = sound;
  }
}

uint64_t Lane::FirstSoundFrom(uint64_t from) {
  // A reader that is mad may have named any position. A frame that it has
  // released a part of is over, as if it had released all of it.
  if (from == committed() || IsSoundFrom(from, /*known=*/nullptr)) return from;
  SoundPositions known(capacity_bytes() / kFrameAlignment);
  while (from < committed() && !IsSoundFrom(from, &known)) {
    from += kFrameAlignment;
  }
  return from;
}

bool Lane::IsSoundFrom(uint64_t from, SoundPositions* known) {
  // What lies before the first sound frame may look like frames too, as many as
  // there is room for: so with `known` no position is looked at twice.
  struct Link {
    size_t slot;
    uint64_t sequence;
  };
  std::vector<Link> chain;
  const uint64_t end = committed();
  uint64_t next_sequence = sequence_ + 1;
  bool is_sound = false;
  while (true) {
    if (from == end) {
      is_sound = true;
      break;
    }
    const Run run = CommittedFrom(from);
    if (run.bytes.size() < sizeof(FrameHeader)) break;
    const FrameHeader header = HeaderAt(run);
    const size_t slot = (run.position % capacity_bytes()) / kFrameAlignment;
    if (known != nullptr && (*known)[slot].has_value()) {
      is_sound = *(*known)[slot];
      next_sequence = header.lane_sequence;
      break;
    }
    chain.push_back({slot, header.lane_sequence});
    const size_t before_payload =
        sizeof header +
        ((header.flags & kFramePublishTime) != 0 ? kPublishTimeBytes : 0) +
        header.extension_bytes;
    if (header.frame_bytes < before_payload ||
        AlignedFrameBytes(header.frame_bytes) > run.bytes.size()) {
      break;
    }
    from = run.position + AlignedFrameBytes(header.frame_bytes);
  }
  for (auto link = chain.rbegin(); link != chain.rend(); ++link) {
    is_sound = is_sound && link->sequence + 1 == next_sequence;
    next_sequence = link->sequence;
    if (known != nullptr) (*known)[link->slot] = is_sound;
  }
  return is_sound;
}

}  // namespace mycelium
