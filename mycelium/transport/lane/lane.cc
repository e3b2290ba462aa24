#include "mycelium/transport/lane/lane.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/shared_word.h"
#include "mycelium/transport/lane/claim_order.h"

namespace mycelium {
namespace {

size_t RoundUpToPowerOfTwo(size_t bytes) {
  size_t power = kRingBytesMin;
  while (power < bytes) power *= 2;
  return power;
}

// The largest frame that a lane of that capacity takes. The memory of a lossy
// lane is four times as large, and no peer maps more than kLaneBytesMax.
size_t LargestFrame(const Lane::Options& options, size_t capacity) {
  const size_t largest = std::min(options.frame_bytes_max, capacity / 2);
  if (!options.lossy.has_value()) return largest;
  return std::min(largest, kLaneBytesMax / 4 - kFrameAlignment);
}

}  // namespace

size_t Lane::MemoryBytes(const Options& options) {
  const size_t capacity =
      RoundUpToPowerOfTwo(std::max(options.capacity_bytes, kRingBytesMin));
  if (!options.lossy.has_value()) return capacity;
  return LossyStage::CapacityFor(capacity, LargestFrame(options, capacity));
}

absl::StatusOr<std::unique_ptr<Lane>> Lane::Create(Environment& environment,
                                                   Options options,
                                                   Doorbell* doorbell) {
  const size_t capacity =
      RoundUpToPowerOfTwo(std::max(options.capacity_bytes, kRingBytesMin));
  const auto memory_of = [&](size_t bytes) {
    absl::StatusOr<std::shared_ptr<LaneMemory>> made =
        PrivateLaneMemory::Create(environment, bytes);
    if (made.ok()) return made;
    return absl::StatusOr<std::shared_ptr<LaneMemory>>(absl::Status(
        made.status().code(), absl::StrCat(options.name, ": lane memory: ",
                                           made.status().message())));
  };
  options.frame_bytes_max = LargestFrame(options, capacity);
  std::unique_ptr<LossyStage> stage;
  if (options.lossy.has_value()) {
    std::shared_ptr<LaneMemory> memory = options.shared;
    if (memory == nullptr) {
      absl::StatusOr<std::shared_ptr<LaneMemory>> made =
          memory_of(MemoryBytes(options));
      if (!made.ok()) return made.status();
      memory = *std::move(made);
    }
    stage = std::make_unique<LossyStage>(*options.lossy, std::move(memory),
                                         options.drop_sink);
  }
  std::shared_ptr<LaneMemory> ring = options.shared;
  if (ring == nullptr || stage != nullptr) {
    // A lossy lane without a window is read where it is staged.
    const bool has_ring = stage == nullptr || options.window > 0;
    absl::StatusOr<std::shared_ptr<LaneMemory>> made =
        memory_of(!has_ring                   ? kRingBytesMin
                  : options.shared != nullptr ? options.shared->bytes().size()
                                              : capacity);
    if (!made.ok()) return made.status();
    ring = *std::move(made);
  }
  return std::unique_ptr<Lane>(new Lane(environment, std::move(options),
                                        doorbell, std::move(ring),
                                        std::move(stage)));
}

Lane::Lane(Environment& environment, Options options, Doorbell* doorbell,
           std::shared_ptr<LaneMemory> memory,
           std::unique_ptr<LossyStage> stage)
    : environment_(environment),
      options_(std::move(options)),
      doorbell_(doorbell),
      memory_(std::move(memory)),
      order_(NextClaimOrder()),
      positions_(&memory_->positions()),
      shared_(options_.shared),
      positions_of_reader_(shared_ == nullptr ? nullptr
                                              : &shared_->positions()),
      writer_(memory_->bytes(), positions_->ring),
      frame_bytes_max_(options_.frame_bytes_max),
      stage_(std::move(stage)) {
  if (stage_ == nullptr || options_.window == 0) return;
  stage_reader_ = std::make_unique<LossyRingReader>(
      stage_->memory(), stage_->positions(), kFrameFlagsOnWire);
  moved_.resize(options_.window);
}

Lane::ClaimResult Lane::TryClaim(size_t frame_bytes) {
  mutex_.Lock();
  if (frame_bytes > frame_bytes_max() || closed()) {
    return UnlockUnclaimed(frame_bytes);
  }
  if (stage_ != nullptr) {
    claimed_bytes_ = frame_bytes;
    return ClaimResult::kClaimed;
  }
  room_ = writer_.TryClaim(frame_bytes);
  if (room_.empty()) return UnlockUnclaimed(frame_bytes);
  uses_scratch_ = shared_ != nullptr && frame_bytes <= kScratchBytes;
  if (uses_scratch_) room_ = absl::MakeSpan(scratch_.data(), frame_bytes);
  return ClaimResult::kClaimed;
}

Lane::ClaimResult Lane::UnlockUnclaimed(size_t frame_bytes) {
  const bool is_too_large = frame_bytes > frame_bytes_max();
  const bool is_closed = closed();
  // Of a lossy lane, which is never full, it is not under this lock.
  const uint64_t seen = stage_ == nullptr ? writer_.released_seen() : 0;
  mutex_.Unlock();
  if (is_too_large) return ClaimResult::kTooLarge;
  if (is_closed) return ClaimResult::kClosed;
  if (shared_ != nullptr) {  // Why is it full?
    released_check_.Raise(seen);
    (void)CheckedReleased();
  }
  return ClaimResult::kFull;
}

absl::Span<std::byte> Lane::Room() {
  if (stage_ != nullptr)
    room_ = stage_->MakeRoom(claimed_bytes_, &drop_reason_);
  return room_;
}

void Lane::Stamp() {
  if (shared_ == nullptr) return;
  const uint32_t stamp =
      options_.control_count->load(std::memory_order_relaxed);
  CopyToShared(room_.data() + offsetof(FrameHeader, lost_before), &stamp,
               sizeof stamp);
}

void Lane::Commit() {
  ++sequence_;
  Stamp();
  if (stage_ == nullptr) {
    CommitToRing();
    mutex_.Unlock();
    return;
  }
  stage_->Commit(sequence_);
  staged_bytes_ += AlignedFrameBytes(claimed_bytes_);
  if (stage_->corrupt()) CheckStage();
  mutex_.Unlock();
  NotifyReleased();  // What had to go may be what somebody waits for.
}

void Lane::CommitToRing() {
  // Published by the commit word, with which the reader's answer pairs.
  committing_.store(writer_.claimed_end(), std::memory_order_relaxed);
  if (uses_scratch_) {
    FrameHeader header;
    CopyFromShared(&header, scratch_.data(), sizeof header);
    writer_.CommitFrom(header, room_.subspan(sizeof header));
  } else {
    writer_.Commit();
  }
  NoteCommitted();
}

bool Lane::TakesLoan(const LoanPlace& place) {
  // A payload that is handed over is never smaller; copying a smaller one is as
  // fast.
  const bool is_small =
      room_.size() < sizeof(FrameHeader) + Payload::kHandOverBytesMin;
  if (!mapped() || stage_ != nullptr || is_small) return false;
  const uint32_t memory = place.memory->id();
  if (loans_.AskLocked(memory)) doorbell_->OnLoanMemory(*this, place.memory);
  if (loans_.AnswerLocked(memory) != LaneLoans::Answer::kYes) return false;
  // Not written aside, but in the ring, where its payload would be.
  if (uses_scratch_) room_ = writer_.TryClaim(room_.size());
  uses_scratch_ = false;
  return true;
}

void Lane::OfferLoans(const std::shared_ptr<LoanMemory>& memory) {
  if (stage_ != nullptr) return;
  MutexLock lock(mutex_);
  // With the lock, since what was asked before SetMapped(false) is void.
  if (!mapped() || closed() || !loans_.AskLocked(memory->id())) return;
  doorbell_->OnLoanMemory(*this, memory);
}

void Lane::SettleLoans() {
  if (!mapped() || stage_ != nullptr) return;
  if (loans_.any()) loans_.Finish(released());
  // Has the reader tell when it is done, unless it is done by now.
  if (loans_.any() && IsOver(Mark())) loans_.Finish(released());
  doorbell_->OnLoansSettled(*this);
}

void Lane::PutLoan(const Payload& loan, absl::Span<std::byte> payload_room) {
  const LoanReference reference = {loan.place->memory->id(), /*reserved=*/0,
                                   loan.place->offset};
  CopyToShared(payload_room.data(), &reference, sizeof reference);
  LaneLoans::Frame frame;
  frame.end = writer_.claimed_end();
  frame.position = frame.end - AlignedFrameBytes(room_.size());
  frame.payload_at = frame.position +
                     static_cast<uint64_t>(payload_room.data() - room_.data());
  frame.bytes = loan.bytes;
  frame.owner = *loan.shared;
  frame.memory = loan.place->memory.get();
  // So that few loans take turns, and stay in the cache.
  loans_.FinishLocked(released());
  loans_.AddLocked(std::move(frame));
}

void Lane::DropClaimed(const FrameFields& fields) {
  FrameView view = {};
  view.header.lane_sequence = ++sequence_;
  view.header.digest_prefix = fields.digest_prefix;
  view.header.publisher_sequence = fields.publisher_sequence;
  view.header.publisher_id = fields.publisher_id;
  stage_->DropNewest(view, drop_reason_);
  CheckStage();  // Why is it full?
  mutex_.Unlock();
  NotifyReleased();  // Older ones may have gone before it had to.
}

void Lane::Abandon() { mutex_.Unlock(); }

bool Lane::HasRoom(size_t frame_bytes) {
  if (stage_ != nullptr) return true;
  MutexLock lock(mutex_);
  return closed() || !writer_.TryClaim(frame_bytes).empty();
}

bool Lane::HasRoomOrAsks(size_t frame_bytes) {
  if (HasRoom(frame_bytes)) return true;
  if (shared_ == nullptr) return false;
  MutexLock lock(mutex_);
  // The reader has no other way to know; then look again.
  positions_->AskToBeWoken(writer_.ReleasedFor(frame_bytes));
  return !writer_.TryClaim(frame_bytes).empty();
}

uint64_t Lane::ReleasedFor(size_t frame_bytes) {
  MutexLock lock(mutex_);
  return writer_.ReleasedFor(frame_bytes);
}

bool Lane::empty() { return IsOver(Mark()); }

uint64_t Lane::Mark() {
  if (stage_ == nullptr) return committed();
  MutexLock lock(mutex_);
  return sequence_;
}

bool Lane::IsOver(uint64_t mark) {
  if (discarded()) return true;
  if (stage_ == nullptr) {
    // `released` first: a thread that sees what Refit() made of it sees the
    // marks of Refit(), too.
    uint64_t handled = released();
    if (handled >= MarkAfterRefit(mark)) return true;
    if (shared_ == nullptr) return false;
    positions_->AskToBeWoken(MarkAfterRefit(mark));
    handled = released();
    return handled >= MarkAfterRefit(mark);
  }
  MutexLock move_lock(move_mutex_);
  ForgetReleased();
  if (moved_count_ > 0 && MovedAt(0).sequence <= mark) return false;
  MutexLock lock(mutex_);
  bool is_over = stage_->IsOver(mark);
  if (!is_over && shared_ != nullptr) {
    // The reader never gets to a frame that was dropped.
    shared_->positions().AskToBeWoken(std::min(mark, stage_->LastSequence()));
    is_over = stage_->IsOver(mark);
  }
  if (stage_->corrupt()) CheckStage();
  return is_over;
}

uint64_t Lane::CheckedReleased() const {
  const uint64_t reader = corruption_.reader();
  std::string wrong;
  const uint64_t released =
      released_check_.Look(positions_->ring.released, committing_, &wrong);
  if (!wrong.empty()) ReportCorrupt(reader, wrong);
  return released;
}

void Lane::ReportCorrupt(uint64_t reader, const std::string& what) const {
  if (doorbell_ == nullptr) return;
  corruption_.Make(reader, [&] { doorbell_->OnCorrupt(*this, what); });
}

absl::Status Lane::RenewReader(uint64_t seen, std::vector<FrameHeader>* lost) {
  return stage_ != nullptr ? RenewStageReader(lost)
                           : RenewRingReader(seen, lost);
}

absl::Status Lane::RenewStageReader(std::vector<FrameHeader>* lost) {
  MutexLock move_lock(move_mutex_);
  MutexLock lock(mutex_);
  absl::Status renewed;
  const LossyRingWriter::Restarted restarted = stage_->Restart(
      [&] { renewed = shared_->RenewPositions([](LanePositions&) {}); },
      [&](const FrameView& damaged) { lost->push_back(damaged.header); });
  if (options_.window > 0) {
    // The reader of the stage starts where the others do.
    is_pinned_ = false;
    stage_reader_ = std::make_unique<LossyRingReader>(
        stage_->memory(), stage_->positions(), kFrameFlagsOnWire);
  }
  last_released_.sequence = restarted.next_sequence - 1;
  if (restarted.had_taken) {
    // Elsewhere the numbers are others'.
    if (!std::exchange(is_suspect_staged_, true)) suspected_ = 0;
    Suspect(restarted.next_sequence, restarted.next_sequence + 1);
  }
  corruption_.BeginReader();
  return renewed;
}

uint64_t Lane::NextSequence() {
  MutexLock lock(mutex_);
  return sequence_ + 1;
}

LanePublished Lane::published() {
  MutexLock lock(mutex_);
  LanePublished published;
  published.frames = sequence_;
  published.bytes =
      stage_ != nullptr ? staged_bytes_ : committed() - refitted_bytes_;
  published.stalls = stalls_.load(std::memory_order_relaxed);
  return published;
}

void Lane::BeginRedelivery(uint64_t sent) {
  if (std::exchange(is_suspect_staged_, false)) suspected_ = 0;
  Suspect(SequenceAt(released()), SequenceAt(std::max(sent, released())));
}

void Lane::Suspect(uint64_t first, uint64_t until) {
  redelivered_until_.store(std::max(redelivered_until(), until),
                           std::memory_order_release);
  if (first >= until) return;  // Nothing was with that process.
  suspected_ = first == suspect_ ? suspected_ + 1 : 1;
  suspect_ = first;
}

bool Lane::TakePoison(uint64_t redeliveries_max, FrameHeader* poison) {
  if (suspected_ <= redeliveries_max) return false;
  return is_suspect_staged_ ? TakeStagePoison(poison) : TakeRingPoison(poison);
}

bool Lane::TakeStagePoison(FrameHeader* poison) {
  MutexLock move_lock(move_mutex_);
  MutexLock lock(mutex_);
  FrameView dropped;
  if (!stage_->PeekOldest(poison) || poison->lane_sequence != suspect_ ||
      !stage_->DropOldest(&dropped)) {
    return false;
  }
  suspected_ = 0;
  return true;
}

bool Lane::TakeRingPoison(FrameHeader* poison) {
  if (SequenceAt(released()) != suspect_) return false;
  const Run run = CommittedFrom(released());
  if (run.bytes.size() < sizeof *poison) return false;
  CopyFromShared(poison, run.bytes.data(), sizeof *poison);
  suspected_ = 0;
  return Release(run.position + AlignedFrameBytes(poison->frame_bytes));
}

MovedFrame& Lane::MovedAt(size_t i) {
  return moved_[(moved_first_ + i) % moved_.size()];
}

size_t Lane::capacity_bytes() const {
  return (shared_ != nullptr ? shared_->bytes() : memory_->bytes()).size();
}

uint64_t Lane::redelivered_until() const {
  return redelivered_until_.load(std::memory_order_acquire);
}

bool Lane::reader_away() const {
  return reader_away_.load(std::memory_order_acquire);
}

void Lane::SetReaderAway(bool away) {
  const bool was_away = reader_away_.exchange(away, std::memory_order_acq_rel);
  // A reader that is back gets its time anew, and may be another process.
  if (was_away && !away) stall_.Clear();
  if (away) room_event_.Notify(environment_.waiter);
}

void Lane::ForgetReleased() {
  while (moved_count_ > 0 && MovedAt(0).end <= released()) {
    last_released_ = MovedAt(0);
    ++moved_first_;
    --moved_count_;
  }
}

void Lane::Advance() {
  if (mapped()) return;  // The peer reads the stage itself.
  MutexLock lock(move_mutex_);
  ForgetReleased();
  bool moved = false;
  while (moved_count_ < options_.window) {
    if (!is_pinned_ &&
        stage_reader_->Poll(&pinned_) != RingReader::Result::kFrame) {
      break;
    }
    is_pinned_ = !MoveOne(pinned_);
    if (is_pinned_) break;
    moved = true;
  }
  if (moved) NotifyReleased();
}

bool Lane::MoveOne(const FrameView& frame) {
  const absl::Span<const std::byte> bytes = stage_reader_->taken();
  const absl::Span<std::byte> room = writer_.TryClaim(bytes.size());
  if (room.empty()) return false;
  // The commit word is the ring's to store.
  constexpr size_t kAfterCommit = offsetof(FrameHeader, flags);
  CopyToShared(room.data() + kAfterCommit, bytes.data() + kAfterCommit,
               bytes.size() - kAfterCommit);
  CommitToRing();
  MovedAt(moved_count_++) = {committed(), frame.header.lane_sequence};
  stage_reader_->Release();
  return true;
}

void Lane::CallWhenRoom(size_t frame_bytes, std::function<void()> callback) {
  room_watches_.Add(frame_bytes, std::move(callback));
  RunRoomWatches();  // A thread that makes room later sees the watch.
}

void Lane::RunRoomWatches() {
  room_watches_.Run([this](size_t bytes) { return HasRoomOrAsks(bytes); });
}

bool Lane::stalled(int64_t wait_ns) const {
  return stall_.Holds(released(), wait_ns);
}

void Lane::MarkStalled(uint64_t released, int64_t waited_ns) {
  stall_.Set(released, waited_ns);
  stalls_.fetch_add(1, std::memory_order_relaxed);
  CheckNextFrame();
}

void Lane::SetMapped(bool mapped) {
  mapped_.store(mapped, std::memory_order_release);
  if (mapped) return;
  // A publisher that still took it for mapped has committed by then: whoever
  // sends the lane from here on sees that frame.
  MutexLock lock(mutex_);
  if (stage_ != nullptr) return;
  // What the writer relies on is over, whatever the reader says by now.
  loans_.TakeBackLocked(std::max(released(), writer_.released_seen()),
                        memory_->bytes());
}

void Lane::Close() {
  {
    MutexLock lock(mutex_);
    closed_.store(true, std::memory_order_release);
  }
  NotifyReleased();
}

void Lane::Discard() {
  corruption_.End();  // The doorbell may not outlive us.
  discarded_.store(true, std::memory_order_release);
  Close();
  if (loans_.any()) loans_.GiveUp(released());
}

Lane::Run Lane::CommittedFrom(uint64_t from) const {
  const uint64_t end = committed();
  const absl::Span<const std::byte> memory = writer_.memory();
  const size_t mask = memory.size() - 1;
  const uint64_t lap_end = (from | mask) + 1;
  if (end <= lap_end) return {from, memory.subspan(from & mask, end - from)};
  Run run;
  run.position = from;
  uint64_t run_end = lap_end;
  // The frames of a lap end at its pad. The writer cannot start another lap's
  // pad before what lies at `from` is released, so this pad is the right one.
  const uint64_t pad = pad_from_.load(std::memory_order_relaxed);
  if (pad >= from && pad < lap_end) run_end = pad;
  if (run_end == from) {  // At the pad itself: the frames go on behind it.
    run.position = lap_end;
    run_end = end;
  }
  run.bytes = memory.subspan(run.position & mask, run_end - run.position);
  return run;
}

bool Lane::Release(uint64_t position) {
  const uint64_t before = released();
  if (position < before || position > committed() ||
      position % kFrameAlignment != 0) {
    return false;
  }
  if (position == before) return true;
  // Pairs with the load in RingWriter::FitsBehind().
  positions_->ring.released.store(position, std::memory_order_release);
  NotifyReleased();
  return true;
}

void Lane::Recall() {
  if (stage_ == nullptr || !mapped()) return;
  MutexLock lock(mutex_);
  stage_->Recall();
}

void Lane::DropWaiting(absl::FunctionRef<void(const FrameView&)> visit) {
  MutexLock lock(mutex_);
  FrameView dropped;
  while (stage_->DropOldest(&dropped)) visit(dropped);
}

void Lane::ForEachFrame(uint64_t from,
                        absl::FunctionRef<void(const FrameHeader&)> visit) {
  // What moves from the stage into the ring meanwhile is not seen twice.
  MutexLock move_lock(move_mutex_);
  MutexLock lock(mutex_);
  VisitRing(from, visit);
  if (stage_ != nullptr) stage_->ForEachFrame(visit);
}

uint64_t Lane::SequenceAt(uint64_t from) {
  MutexLock move_lock(move_mutex_);
  if (stage_ != nullptr && mapped()) {
    MutexLock lock(mutex_);
    return stage_->NextSequence();
  }
  if (stage_ != nullptr) {
    ForgetReleased();
    uint64_t sequence = last_released_.sequence + 1;
    for (size_t i = 0; i < moved_count_ && MovedAt(i).end <= from; ++i) {
      sequence = MovedAt(i).sequence + 1;
    }
    return sequence;
  }
  MutexLock lock(mutex_);
  uint64_t frames_after = 0;
  VisitRing(from, [&](const FrameHeader&) { ++frames_after; });
  return sequence_ - frames_after + 1;
}

}  // namespace mycelium
