#include "mycelium/bus/loan_pool.h"

#include <algorithm>
#include <iterator>
#include <new>

namespace mycelium {
namespace {

// The least room of a loan that peers may map.
constexpr size_t kSlotBytesMin = 4096;
// The first memory has room for this much, but for at least and at most so many
// loans: about as many as a lane of the usual size has on their way.
constexpr size_t kFirstBytes = 4 << 20;
constexpr size_t kFirstSlotsMin = 8;
constexpr size_t kFirstSlotsMax = 64;
// Places become smaller only by at least this factor; otherwise two sizes in
// turn would make new memory again and again.
constexpr size_t kShrinkMin = 4;

size_t SlotBytesFor(size_t bytes) {
  size_t slot_bytes = kSlotBytesMin;
  while (slot_bytes < bytes) slot_bytes *= 2;
  return slot_bytes;
}

}  // namespace

LoanPool::~LoanPool() {
  for (void* const block : blocks_) ::operator delete(block);
}

std::shared_ptr<LoanPool::Memory> LoanPool::Take(size_t bytes,
                                                 const Lender* lender) {
  const Blocks<Memory> blocks(shared_from_this());
  if (lender != nullptr) {
    LoanPlace place = TakeShared(bytes, *lender);
    if (place.memory != nullptr) {
      return std::allocate_shared<Memory>(blocks, shared_from_this(),
                                          std::move(place), bytes);
    }
  }
  return std::allocate_shared<Memory>(blocks, shared_from_this(),
                                      TakeOwn(bytes));
}

LoanPool::OwnBytes LoanPool::TakeOwn(size_t bytes) {
  OwnBytes memory;
  {
    MutexLock lock(mutex_);
    if (!spare_.empty()) {
      memory = std::move(spare_.back());
      spare_.pop_back();
    }
  }
  memory.resize(bytes);
  return memory;
}

LoanPlace LoanPool::TakeShared(size_t bytes, const Lender& lender) {
  if (bytes > kSharedBytesMax) return {};
  LoanPlace place = TakeFree(bytes);
  if (place.memory != nullptr) return place;
  lender.finish();
  place = TakeFree(bytes);
  if (place.memory != nullptr) return place;
  size_t wanted;
  size_t slot_bytes;
  uint64_t sizes;
  std::vector<LoanPlace> unfit;  // Destroyed without the lock.
  {
    MutexLock lock(mutex_);
    // Other threads may have made places small again since.
    if (bytes > slot_bytes_) SetSlotBytes(SlotBytesFor(bytes), &unfit);
    wanted = has_none_ ? 0 : NextBytes();
    slot_bytes = slot_bytes_;
    sizes = sizes_;
    making_bytes_ += wanted;
  }
  if (wanted == 0) return place;
  const std::shared_ptr<LoanMemory> made = lender.make(wanted);
  MutexLock lock(mutex_);
  making_bytes_ -= wanted;
  if (made == nullptr) {
    has_none_ = true;
    return place;
  }
  place = {made, 0};
  if (sizes != sizes_) {  // They changed since then.
    old_.push_back({made, wanted});
    return place;
  }
  memories_.push_back({made, wanted});
  shared_bytes_ += wanted;
  free_.reserve(shared_bytes_ / slot_bytes);
  for (size_t at = slot_bytes; at < wanted; at += slot_bytes) {
    free_.push_back({made, at});
  }
  return place;
}

LoanPlace LoanPool::TakeFree(size_t bytes) {
  std::vector<LoanPlace> unfit;  // Destroyed without the lock.
  MutexLock lock(mutex_);
  largest_ = std::max(largest_, bytes);
  if (bytes > slot_bytes_) {
    SetSlotBytes(SlotBytesFor(bytes), &unfit);
  } else if (++loans_ > kLoansRemembered) {
    const size_t slot_bytes = SlotBytesFor(largest_);
    if (slot_bytes <= slot_bytes_ / kShrinkMin) {
      SetSlotBytes(slot_bytes, &unfit);
    }
    has_none_ = false;
    largest_ = bytes;
    loans_ = 0;
  }
  if (free_.empty()) return {};
  LoanPlace place = std::move(free_.back());
  free_.pop_back();
  return place;
}

void LoanPool::SetSlotBytes(size_t slot_bytes,
                            std::vector<LoanPlace>* dropped) {
  slot_bytes_ = slot_bytes;
  ++sizes_;
  dropped->swap(free_);
  old_.insert(old_.end(), memories_.begin(), memories_.end());
  memories_.clear();
  shared_bytes_ = 0;
}

size_t LoanPool::NextBytes() {
  old_.erase(
      std::remove_if(old_.begin(), old_.end(),
                     [](const Made& made) { return made.memory.expired(); }),
      old_.end());
  size_t most = kSharedBytesMax - making_bytes_;
  for (const Made& made : old_) most -= std::min(most, made.bytes);
  if (shared_bytes_ > 0) {
    // As much again, rounded down to a power of two if some of it was spoiled
    // or the bound leaves less.
    const size_t bytes_max =
        std::min(shared_bytes_, most - std::min(most, shared_bytes_));
    if (bytes_max < slot_bytes_) return 0;
    size_t bytes = slot_bytes_;
    while (2 * bytes <= bytes_max) bytes *= 2;
    return bytes;
  }
  const size_t slots =
      std::clamp(kFirstBytes / slot_bytes_, kFirstSlotsMin, kFirstSlotsMax);
  if (slots * slot_bytes_ <= most) return slots * slot_bytes_;
  return slot_bytes_ <= most ? slot_bytes_ : 0;
}

void LoanPool::GiveBack(OwnBytes own) {
  MutexLock lock(mutex_);
  if (spare_.size() < kSpareMax) spare_.push_back(std::move(own));
}

void LoanPool::GiveBack(LoanPlace place) {
  std::vector<LoanPlace> dropped;  // Destroyed without the lock.
  MutexLock lock(mutex_);
  // A memory of another size goes when the last loan in it does.
  for (const auto& [memory, bytes] : memories_) {
    if (memory.owner_before(place.memory) ||
        place.memory.owner_before(memory)) {
      continue;
    }
    if (place.memory->spoiled()) {
      Forget(*place.memory, &dropped);
    } else {
      free_.push_back(std::move(place));
    }
    return;
  }
}

void LoanPool::Forget(const LoanMemory& memory,
                      std::vector<LoanPlace>* dropped) {
  const auto lies_there = [&](const LoanPlace& place) {
    return place.memory.get() == &memory;
  };
  const auto kept = std::stable_partition(
      free_.begin(), free_.end(),
      [&](const LoanPlace& place) { return !lies_there(place); });
  dropped->assign(std::make_move_iterator(kept),
                  std::make_move_iterator(free_.end()));
  free_.erase(kept, free_.end());
  const auto known = std::find_if(
      memories_.begin(), memories_.end(),
      [&](const Made& made) { return made.memory.lock().get() == &memory; });
  if (known == memories_.end()) return;
  old_.push_back(std::move(*known));
  memories_.erase(known);
  shared_bytes_ -= memory.bytes().size();
}

void* LoanPool::TakeBlock(size_t bytes) {
  MutexLock lock(mutex_);
  if (blocks_.empty()) return ::operator new(bytes);
  void* const block = blocks_.back();
  blocks_.pop_back();
  return block;
}

void LoanPool::GiveBackBlock(void* block) {
  {
    MutexLock lock(mutex_);
    if (blocks_.size() < kSpareMax) {
      blocks_.push_back(block);
      return;
    }
  }
  ::operator delete(block);
}

}  // namespace mycelium
