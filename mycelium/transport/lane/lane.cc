#include "mycelium/transport/lane/lane.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace mycelium {
namespace {

size_t RoundUpToPowerOfTwo(size_t bytes) {
  size_t power = kRingBytesMin;
  while (power < bytes) power *= 2;
  return power;
}

}  // namespace

uint64_t NextClaimOrder() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

absl::StatusOr<std::unique_ptr<Lane>> Lane::Create(Environment& environment,
                                                   Options options,
                                                   Doorbell* doorbell) {
  const size_t capacity =
      RoundUpToPowerOfTwo(std::max(options.capacity_bytes, kRingBytesMin));
  absl::StatusOr<Mapping> memory = Mapping::Private(environment.sys, capacity);
  if (!memory.ok()) {
    return absl::Status(memory.status().code(),
                        absl::StrCat(options.name, ": lane memory: ",
                                     memory.status().message()));
  }
  options.frame_bytes_max = std::min(options.frame_bytes_max, capacity / 2);
  return std::unique_ptr<Lane>(
      new Lane(environment, std::move(options), doorbell, *std::move(memory)));
}

Lane::Lane(Environment& environment, Options options, Doorbell* doorbell,
           Mapping memory)
    : environment_(environment),
      options_(std::move(options)),
      doorbell_(doorbell),
      memory_(std::move(memory)),
      order_(NextClaimOrder()),
      positions_(std::make_unique<RingPositions>()),
      writer_(memory_.bytes(), *positions_) {}

Lane::ClaimResult Lane::TryClaim(size_t frame_bytes,
                                 absl::Span<std::byte>* room) {
  if (frame_bytes > options_.frame_bytes_max) return ClaimResult::kTooLarge;
  mutex_.Lock();
  if (closed_.load(std::memory_order_relaxed)) {
    mutex_.Unlock();
    return ClaimResult::kClosed;
  }
  *room = writer_.TryClaim(frame_bytes);
  if (!room->empty()) return ClaimResult::kClaimed;
  mutex_.Unlock();
  return ClaimResult::kFull;
}

void Lane::Commit() {
  writer_.Commit();
  ++sequence_;
  pad_from_.store(writer_.pad_from(), std::memory_order_relaxed);
  // Pairs with committed(): whoever reads it may read the frames before it.
  committed_.store(writer_.position(), std::memory_order_release);
  mutex_.Unlock();
}

void Lane::Abandon() { mutex_.Unlock(); }

bool Lane::HasRoom(size_t frame_bytes) {
  MutexLock lock(mutex_);
  return closed() || !writer_.TryClaim(frame_bytes).empty();
}

void Lane::Close() {
  {
    MutexLock lock(mutex_);
    closed_.store(true, std::memory_order_release);
  }
  room_event_.Notify(environment_.waiter);
}

void Lane::Discard() {
  discarded_.store(true, std::memory_order_release);
  Close();
}

Lane::Run Lane::CommittedFrom(uint64_t from) const {
  const uint64_t end = committed();
  Run run;
  run.position = from;
  if (from == end) return run;
  const size_t mask = memory_.bytes().size() - 1;
  const uint64_t lap_end = (from | mask) + 1;
  uint64_t run_end = std::min(end, lap_end);
  // The frames of a lap end at its pad. The writer cannot start another lap's
  // pad before what lies at `from` is released, so this pad is the right one.
  const uint64_t pad = pad_from_.load(std::memory_order_relaxed);
  if (end > lap_end && pad >= from && pad < lap_end) run_end = pad;
  if (run_end == from) {  // At the pad itself: the frames go on behind it.
    run.position = lap_end;
    run_end = end;
  }
  run.bytes =
      memory_.bytes().subspan(run.position & mask, run_end - run.position);
  return run;
}

bool Lane::Release(uint64_t position) {
  const uint64_t before = positions_->released.load(std::memory_order_relaxed);
  if (position < before || position > committed() ||
      position % kFrameAlignment != 0) {
    return false;
  }
  if (position == before) return true;
  // Pairs with the load in RingWriter::Fits().
  positions_->released.store(position, std::memory_order_release);
  NotifyReleased();
  return true;
}

void Lane::ForEachFrame(uint64_t from,
                        absl::FunctionRef<void(const FrameHeader&)> visit) {
  MutexLock lock(mutex_);
  VisitFrames(from, visit);
}

uint64_t Lane::SequenceAt(uint64_t from) {
  MutexLock lock(mutex_);
  uint64_t frames_after = 0;
  VisitFrames(from, [&](const FrameHeader&) { ++frames_after; });
  return sequence_ - frames_after + 1;
}

void Lane::VisitFrames(uint64_t from,
                       absl::FunctionRef<void(const FrameHeader&)> visit) {
  const uint64_t end = committed();
  uint64_t position = std::max(from, released());
  while (position < end) {
    const Run run = CommittedFrom(position);
    position = run.position;
    for (size_t at = 0; at < run.bytes.size();) {
      FrameHeader header;
      if (run.bytes.size() - at < sizeof header) return;
      std::memcpy(&header, run.bytes.data() + at, sizeof header);
      // `from` comes from the reader and may lie within a frame.
      if (header.frame_bytes < sizeof header ||
          header.frame_bytes > run.bytes.size() - at) {
        return;
      }
      visit(header);
      at += AlignedFrameBytes(header.frame_bytes);
    }
    position += run.bytes.size();
  }
}

}  // namespace mycelium
