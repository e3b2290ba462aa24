#include "mycelium/routing/inbound_queue.h"

#include <utility>

#include "mycelium/base/cpu_relax.h"
#include "mycelium/routing/local_frame.h"

namespace mycelium {

void InboundQueue::AddFeed(std::shared_ptr<Feed> feed) {
  {
    MutexLock lock(mutex_);
    if (closed()) return;
    feeds_.push_back(std::move(feed));
  }
  Notify();
}

bool InboundQueue::Take(FrameView* frame) {
  MutexLock lock(mutex_);
  Release();
  if (TakeNext(frame)) {
    ++burst_;
    return true;
  }
  const bool was_busy = burst_ >= kBurst;
  burst_ = 0;
  if (!was_busy) return false;
  for (int i = 0; i < kRestPauses; ++i) CpuRelax();
  return TakeNext(frame);
}

bool InboundQueue::TakeNext(FrameView* frame) {
  for (size_t tried = 0; tried < feeds_.size();) {
    if (next_feed_ >= feeds_.size()) next_feed_ = 0;
    Feed& feed = *feeds_[next_feed_];
    const bool ended = feed.ended();  // Before the look: nothing comes after.
    if (feed.Poll(frame) == RingReader::Result::kFrame) {
      taken_from_ = feeds_[next_feed_];
      taken_view_ = *frame;
      is_taken_ = true;
      holds_room_ = true;
      ++next_feed_;  // The others get their turn.
      return true;
    }
    if (ended) {
      feeds_.erase(feeds_.begin() + static_cast<ptrdiff_t>(next_feed_));
      continue;
    }
    ++next_feed_;
    ++tried;
  }
  return false;
}

void InboundQueue::Finish() {
  MutexLock lock(mutex_);
  Release();
}

void InboundQueue::Release() {
  if (!is_taken_) return;
  is_taken_ = false;
  DestroyObject(taken_view_);
  ReleaseRoom();
}

void InboundQueue::ReportTaken() {
  MutexLock lock(mutex_);
  if (is_taken_) ReleaseRoom();
}

void InboundQueue::ReleaseRoom() {
  if (!holds_room_) return;
  holds_room_ = false;
  taken_from_->Release(last_dropped_.value_or(taken_view_.header));
  last_dropped_.reset();
}

bool InboundQueue::HasFrame() {
  MutexLock lock(mutex_);
  for (const auto& feed : feeds_) {
    if (feed->HasFrame()) return true;
  }
  return false;
}

void InboundQueue::Close(absl::FunctionRef<void(const FrameView&)> visit) {
  {
    MutexLock lock(mutex_);
    closed_.store(true, std::memory_order_release);
    for (const auto& feed : feeds_) DropAll(*feed, visit);
    feeds_.clear();
  }
  Notify();
}

void InboundQueue::DropLate(Feed& feed,
                            absl::FunctionRef<void(const FrameView&)> visit) {
  MutexLock lock(mutex_);
  DropAll(feed, visit);
}

void InboundQueue::DropAll(Feed& feed,
                           absl::FunctionRef<void(const FrameView&)> visit) {
  FrameView frame;
  bool dropped = false;
  while (feed.Poll(&frame) == RingReader::Result::kFrame) {
    visit(frame);
    DestroyObject(frame);
    dropped = true;
  }
  if (!dropped) return;
  if (is_taken_ && holds_room_ && taken_from_.get() == &feed) {
    last_dropped_ = frame.header;  // Released with the one before them.
    return;
  }
  feed.Release(frame.header);
}

void InboundQueue::Notify() {
  event_.Notify(environment_.waiter);
  // Pairs with ArmDescriptor(): the commit came before this read-modify-write.
  if (has_descriptor() && descriptor_armed_.exchange(false)) MakeReadable();
}

void InboundQueue::MakeReadable() {
  MutexLock lock(descriptor_mutex_);
  if (!descriptor_.valid()) return;
  const uint64_t one = 1;
  environment_.sys.Write(descriptor_.get(), &one, sizeof one);
}

void InboundQueue::CloseDescriptor() {
  MutexLock lock(descriptor_mutex_);
  descriptor_number_.store(-1);
  descriptor_.Close();
}

absl::StatusOr<int> InboundQueue::Descriptor() {
  MutexLock lock(descriptor_mutex_);
  if (!descriptor_.valid()) {
    const int64_t made = environment_.sys.EventFd();
    if (made < 0) return ErrnoStatus(made, "eventfd for a subscriber");
    descriptor_ = Fd(environment_.sys, static_cast<int>(made));
    descriptor_number_.store(static_cast<int>(made));
  }
  return descriptor_.get();
}

bool InboundQueue::ArmDescriptor() {
  const int descriptor = descriptor_number_.load();
  if (descriptor < 0) return !HasFrame();
  uint64_t count;
  environment_.sys.Read(descriptor, &count, sizeof count);
  descriptor_armed_.exchange(true);
  if (!HasFrame()) return true;
  descriptor_armed_.store(false);
  return false;
}

}  // namespace mycelium
