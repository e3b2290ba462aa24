#include "mycelium/transport/inbound_ring.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/planted_bug.h"
#include "mycelium/base/shared_word.h"

namespace mycelium {

InboundRing::InboundRing(std::shared_ptr<LaneMemory> memory,
                         const Options& options)
    : memory_(std::move(memory)),
      positions_(memory_->positions()),
      options_(options),
      bare_bytes_max_(
          std::min({sizeof(FrameHeader) + kCopiedBytesMax,
                    options.frame_bytes_max, memory_->bytes().size() / 2})),
      reader_(memory_->bytes(), positions_.ring,
              options.loans != nullptr ? kFrameFlagsInSharedRing
                                       : kFrameFlagsOnWire),
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
  NotePlain();
}

InboundRing::Look InboundRing::PeekSlowly() {
  if (is_pending_) return Look::kFrame;
  return shows_left_ == 0 ? LookAtEnd() : Next();
}

InboundRing::Look InboundRing::NextLossless() {
  const RingReader::Result result = reader_.Poll(&pending_);
  if (result == RingReader::Result::kEmpty) return Look::kEmpty;
  if (result == RingReader::Result::kCorrupt) return CorruptFrame();
  if (pending_.header.lane_sequence != next_sequence()) {
    return CorruptSequence();
  }
  return Take(reader_.cursor(), /*lost=*/0);
}

InboundRing::Look InboundRing::Take(uint64_t end, uint64_t lost) {
  FrameHeader& header = pending_.header;
  if (header.frame_bytes > options_.frame_bytes_max) return CorruptSize();
  stamp_ = header.lost_before;
  pending_.lost_before = lost;
  if (header.lane_sequence < options_.redelivered_until) {
    header.flags |= kFrameRedelivered;
  }
  pending_end_ = end;
  if ((header.flags & kFrameElsewhere) != 0) {
    if (!FollowReference()) return CorruptReference();
  } else {
    CopyOut();
  }
  is_pending_ = true;
  return Look::kFrame;
}

InboundRing::Look InboundRing::NextLossy() {
  ReleaseHandled();
  if (holds_) return Look::kEmpty;
  const RingReader::Result result = lossy_reader_->Poll(&pending_);
  if (result == RingReader::Result::kEmpty) return Look::kEmpty;
  if (result == RingReader::Result::kCorrupt) return CorruptFrame();
  const uint64_t sequence = pending_.header.lane_sequence;
  if (sequence < next_sequence()) return CorruptSequence();
  held_sequence_.store(sequence, std::memory_order_relaxed);
  // Release: pairs with the load in LetGoIfHeld().
  held_at_.store(positions_.lossy.held.load(std::memory_order_relaxed),
                 std::memory_order_release);
  return Take(sequence, sequence - next_sequence());
}

InboundRing::Look InboundRing::CorruptFrame() {
  return Corrupt(absl::StrCat("no frame starts ", DescribePlace()));
}

InboundRing::Look InboundRing::CorruptSequence() {
  return Corrupt(absl::StrCat("the frame before position ", Position(),
                              " has sequence ", pending_.header.lane_sequence,
                              ", expected ", next_sequence(),
                              options_.lossy ? " or a later" : ""));
}

InboundRing::Look InboundRing::CorruptSize() {
  return Corrupt(absl::StrCat("frame ", pending_.header.lane_sequence,
                              " before position ", Position(), " has ",
                              pending_.header.frame_bytes, " bytes; at most ",
                              options_.frame_bytes_max, " are expected"));
}

bool InboundRing::FollowReference() {
  FrameView& frame = pending_;
  LoanReference reference;
  if (!frame.extension.empty() || frame.payload.size() < sizeof reference) {
    return false;
  }
  CopyFromShared(&reference, frame.payload.data(), sizeof reference);
  const auto memory = options_.loans->find(reference.memory);
  if (memory == options_.loans->end()) return false;
  const absl::Span<const std::byte> bytes = memory->second->bytes();
  const size_t size = frame.payload.size();
  if (reference.offset > bytes.size() ||
      size > bytes.size() - reference.offset) {
    return false;
  }
  frame.payload = bytes.subspan(reference.offset, size);
  frame.header.flags &= static_cast<uint16_t>(~kFrameElsewhere);
  if (options_.copies_all) {
    CopyOut();
    return true;
  }
  if (loan_ != memory->second) loan_ = memory->second;
  frame.memory = &loan_;
  return true;
}

void InboundRing::CopyOut() {
  const size_t extension = PaddedExtensionBytes(pending_.extension.size());
  const size_t bytes = extension + pending_.payload.size();
  if (bytes > kCopiedBytesMax && !options_.copies_all) {
    // A lossy lane's frame is let go while somebody has it: see
    // BeginTakingOver().
    pending_.memory = options_.lossy ? nullptr : &shared_memory_;
    return;
  }
  pending_.memory = nullptr;
  if (bytes > copied_.size()) copied_.resize(bytes);
  // Extension and payload follow one another in the frame. The planted bug
  // copies a fixed size, which is so much faster.
  CopyFromSharedInline(copied_.data(), pending_.payload.data() - extension,
                       MYCELIUM_PLANTED_BUG(6) ? kCopiedBytesMax : bytes);
  pending_.extension =
      absl::MakeConstSpan(copied_.data(), pending_.extension.size());
  pending_.payload =
      absl::MakeConstSpan(copied_.data() + extension, pending_.payload.size());
}

InboundRing::Look InboundRing::CorruptReference() {
  return Corrupt(absl::StrCat(
      "frame ", pending_.header.lane_sequence, " before position ", Position(),
      " of ", pending_.header.frame_bytes,
      " bytes refers to a loan that does not lie in memory which is mapped"));
}

InboundRing::Look InboundRing::Corrupt(std::string what) {
  error_ = absl::StrCat("lane ", options_.lane,
                        " in shared memory: ", std::move(what));
  is_corrupt_.store(true, std::memory_order_relaxed);
  // Either this thread or one that has handled something since sees what the
  // other has stored: pairs with the load in NoteHandled().
  std::atomic_thread_fence(std::memory_order_seq_cst);
  is_pending_ = false;
  shows_left_ = 0;
  NotePlain();
  return TellsCorrupt() ? Look::kCorrupt : Look::kCorruptLater;
}

bool InboundRing::TellsCorrupt() const {
  if (!is_corrupt()) return false;
  // What is handled at once is not looked up where the peer can write.
  return tells_at_once_ || !is_deferred_ || handled() == taken();
}

uint64_t InboundRing::Position() const {
  return options_.lossy ? positions_.lossy.next.load(std::memory_order_relaxed)
                        : reader_.cursor();
}

std::string InboundRing::DescribePlace() const {
  const uint64_t position = Position();
  const auto memory = memory_->bytes();
  const size_t at = position & (memory.size() - 1);
  if (at % kFrameAlignment != 0) {
    return absl::StrCat("at position ", position, "; a multiple of ",
                        kFrameAlignment, " is expected");
  }
  const auto rest = memory.subspan(at);
  return absl::StrCat("at position ", position, ", ", rest.size(),
                      " bytes before the end: ",
                      DescribeCorruptFrame(rest, memory.size() / 2).message());
}

void InboundRing::BeginDraining() {
  if (is_corrupt()) return;
  // More frames do not lie there.
  shows_left_ = memory_->bytes().size() / kFrameAlignment;
  NotePlain();
}

void InboundRing::BeginTakingOver() {
  BeginDraining();
  takes_over_ = true;
  // The writer is gone, or going, and overwrites nothing. A handler that has a
  // frame has it as a copy, and may take as long as it likes.
  LetGo();
}

void InboundRing::EndDraining() {
  if (!is_corrupt()) shows_left_ = kNoEnd;
  takes_over_ = false;
  NotePlain();
}

void InboundRing::PopSlowly(bool handled) {
  if (shows_left_ != kNoEnd) --shows_left_;
  TakePending();
  if (options_.lossy) {
    holds_ = true;
    // One thread stores them.
    lossy_frames_.store(lossy_frames_.load(std::memory_order_relaxed) + 1,
                        std::memory_order_relaxed);
    lossy_bytes_.store(lossy_bytes_.load(std::memory_order_relaxed) +
                           AlignedFrameBytes(pending_.header.frame_bytes),
                       std::memory_order_relaxed);
  }
  if (handled) (void)NoteHandled(pending_end_);
  if (takes_over_) LetGo();  // See BeginTakingOver().
  if (holds_) ReleaseHandled();
}

void InboundRing::AddTraffic(LinkTraffic* traffic) const {
  traffic->frames_received +=
      options_.lossy ? lossy_frames_.load(std::memory_order_relaxed)
                     : next_sequence() - options_.next_sequence;
  traffic->bytes_received += options_.lossy
                                 ? lossy_bytes_.load(std::memory_order_relaxed)
                                 : taken() - options_.position;
}

bool InboundRing::NoteHandled(uint64_t end) {
  // Before `handled_` lets the loop take another one, which is held then.
  if (options_.lossy) LetGoIfHeld(end);
  // Of two threads that store, the later may have the lower end.
  SharedWord<uint64_t>& handled =
      options_.lossy ? handled_ : positions_.ring.released;
  uint64_t before = handled.load(std::memory_order_relaxed);
  // Release: pairs with the load in RingWriter::FitsBehind(). Sequentially
  // consistent with the loop's `sleeping_`, see EventLoop::WakeIfAsleep().
  while (before < end && !handled.compare_exchange_weak(
                             before, end, std::memory_order_seq_cst)) {
  }
  // Pairs with the fence in Corrupt(). Of a lossy lane the next one is taken.
  return options_.lossy || is_corrupt_.load(std::memory_order_seq_cst);
}

void InboundRing::LetGoIfHeld(uint64_t sequence) {
  // Where it takes over, the loop may hold a later one, and be reading that.
  // Acquire: a thread that sees where that one lies sees its sequence, too.
  uint64_t at = held_at_.load(std::memory_order_acquire);
  if (held_sequence_.load(std::memory_order_relaxed) != sequence) return;
  // Release: pairs with the load in LossyRingWriter::HoldsTaken().
  (void)positions_.lossy.held.compare_exchange_strong(
      at, LossyPositions::kNothingHeld, std::memory_order_release);
}

void InboundRing::ReleaseHandled() {
  if (!holds_ || handled() < taken_.load(std::memory_order_relaxed)) return;
  lossy_reader_->Forget();
  holds_ = false;
}

void InboundRing::LetGo() {
  if (!holds_) return;
  lossy_reader_->Release();
  holds_ = false;
}

void InboundRing::Promise() {
  if (options_.has_barrier == nullptr || !options_.has_barrier()) return;
  has_promised_ |= positions_.PromiseBarrier();
}

bool InboundRing::HasWork(uint32_t controls_seen) {
  if (paused || !active) return false;  // Somebody wakes the loop later.
  if (is_pending_) return MaySee(controls_seen);
  if (shows_left_ == 0) return TellsCorrupt();  // Else until EndDraining().
  if (!options_.lossy) return reader_.HasFrame();
  ReleaseHandled();
  return !holds_ && lossy_reader_->HasFrame();
}

bool InboundRing::IsDrained(uint32_t controls_seen) {
  if (shows_left_ == 0) return !TellsCorrupt();
  if (is_pending_) return !MaySee(controls_seen);
  if (!options_.lossy) return !reader_.HasFrame();
  ReleaseHandled();
  return holds_ || !lossy_reader_->HasFrame();
}

uint64_t InboundRing::CountLeft() {
  // Nobody but us counts what is taken from a lossy ring, though its writer may
  // live, and look what became of it. So it is left there, and held.
  if (options_.lossy) {
    return lossy_reader_->CountWaiting() + (is_pending_ ? 1 : 0);
  }
  BeginTakingOver();
  uint64_t left = 0;
  while (shows_left_ > 0 && (is_pending_ || Next() == Look::kFrame)) {
    Pop(/*handled=*/false);
    ++left;
  }
  return left;
}

}  // namespace mycelium
