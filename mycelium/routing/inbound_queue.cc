#include "mycelium/routing/inbound_queue.h"

#include <algorithm>
#include <utility>

#include "mycelium/routing/local_frame.h"

namespace mycelium {

void InboundQueue::AddFeed(std::shared_ptr<Feed> feed) {
  {
    MutexLock lock(mutex_);
    if (closed()) return;
    ForgetEnded();  // If no frames come, nothing else forgets them.
    feeds_.push_back(std::move(feed));
    // Release: pairs with the load in HasFrame().
    changes_.fetch_add(1, std::memory_order_release);
  }
  Notify();
}

void InboundQueue::ForgetEnded() {
  feeds_.erase(std::remove_if(feeds_.begin(), feeds_.end(),
                              [](const std::shared_ptr<Feed>& feed) {
                                // In this order: nothing comes after the end.
                                return feed->ended() && !feed->HasFrame();
                              }),
               feeds_.end());
}

bool InboundQueue::TakeOrRest() {
  if (TakeIfThere()) {
    burst_.NoteTaken();
    return true;
  }
  return burst_.Rest() && TakeIfThere();
}

bool InboundQueue::TakeIfThere() {
  if (!is_taken_ && !HasFrame()) return false;
  MutexLock lock(mutex_);
  Release();
  return TakeNext();
}

void InboundQueue::SeeFeeds() {
  std::vector<std::shared_ptr<Feed>> feeds;
  {
    MutexLock lock(mutex_);
    feeds = feeds_;
    seen_changes_ = changes_.load(std::memory_order_relaxed);
  }
  seen_.swap(feeds);  // The old ones may be freed, which needs no lock.
}

size_t InboundQueue::ChooseFeed() const {
  // An ended feed first: what its publisher sends now comes to another feed.
  for (size_t i = 0; i < feeds_.size() && feeds_.size() > 1; ++i) {
    if (feeds_[i]->ended()) return i;
  }
  return next_feed_ < feeds_.size() ? next_feed_ : 0;
}

bool InboundQueue::TakeNext() {
  for (size_t tried = 0; tried < feeds_.size();) {
    next_feed_ = ChooseFeed();
    Feed& feed = *feeds_[next_feed_];
    const bool ended = feed.ended();  // Before the look: nothing comes after.
    if (feed.Poll(&taken_view_) == RingReader::Result::kFrame) {
      // Counting the owners costs more than seeing that it is the same feed.
      if (taken_from_.get() != &feed) taken_from_ = feeds_[next_feed_];
      is_taken_ = true;
      holds_room_ = true;
      ++next_feed_;  // The others get their turn.
      return true;
    }
    if (ended) {
      feeds_.erase(feeds_.begin() + static_cast<ptrdiff_t>(next_feed_));
      changes_.fetch_add(1, std::memory_order_relaxed);  // For ourselves.
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

void InboundQueue::FinishAndClear(std::atomic<uint32_t>& busy) {
  MutexLock lock(mutex_);
  Release();
  busy.store(0, std::memory_order_release);
}

void InboundQueue::Release() {
  if (!is_taken_) return;
  is_taken_ = false;
  DestroyObject(taken_view_);
  ReleaseRoom();
}

void InboundQueue::ReportTaken() {
  MutexLock lock(mutex_);
  if (!is_taken_) return;
  // A frame's bytes in the peer's memory stay only while the room is ours. The
  // peer learns from our Goodbye how far we have come.
  if ((taken_view_.header.flags & kFrameElsewhere) != 0) return;
  ReleaseRoom();
}

void InboundQueue::ReleaseRoom() {
  if (!holds_room_) return;
  holds_room_ = false;
  taken_from_->Release(last_dropped_.value_or(taken_view_.header));
  last_dropped_.reset();
}

void InboundQueue::Close(absl::FunctionRef<void(const FrameView&)> visit) {
  {
    MutexLock lock(mutex_);
    closed_.store(true, std::memory_order_release);
    for (const auto& feed : feeds_) DropAll(*feed, visit);
    feeds_.clear();
    // Release: pairs with the load in HasFrame().
    changes_.fetch_add(1, std::memory_order_release);
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
  const auto drop = [&](const FrameView& frame) {
    visit(frame);
    DestroyObject(frame);
  };
  const bool holds = is_taken_ && holds_room_ && taken_from_.get() == &feed;
  if (holds && feed.DropWaiting(drop)) return;
  FrameView frame;
  bool dropped = false;
  while (feed.Poll(&frame) == RingReader::Result::kFrame) {
    drop(frame);
    dropped = true;
  }
  if (!dropped) return;
  if (holds) {
    last_dropped_ = frame.header;  // Released with the frame that is held.
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
    // Pairs with the read-modify-write in Notify(). A Notify() after this sees
    // the descriptor. ArmDescriptor() sees what was committed before an earlier
    // Notify().
    const EventCount::Sleeper order(event_);
  }
  return descriptor_.get();
}

const FrameView* InboundQueue::TakeOrArm() {
  const FrameView* frame = Take();
  // A frame that slipped in before the arming has taken the arming back, and
  // may be dropped for a newer one before it is taken.
  for (int tries = 0; frame == nullptr; ++tries) {
    if (!has_descriptor() || ArmDescriptor()) return nullptr;
    if (tries == kArmTriesMax) {
      MakeReadable();  // To be asked again.
      return nullptr;
    }
    frame = Take();
  }
  return frame;
}

bool InboundQueue::ArmDescriptor() {
  const auto has_frame = [this] {
    MutexLock lock(mutex_);
    return std::any_of(
        feeds_.begin(), feeds_.end(),
        [](const std::shared_ptr<Feed>& feed) { return feed->HasFrame(); });
  };
  const int descriptor = descriptor_number_.load();
  if (descriptor < 0) return !has_frame();
  uint64_t count;
  environment_.sys.Read(descriptor, &count, sizeof count);
  descriptor_armed_.exchange(true);
  if (!has_frame()) return true;
  descriptor_armed_.store(false);
  return false;
}

}  // namespace mycelium
