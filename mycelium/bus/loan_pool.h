#ifndef MYCELIUM_BUS_LOAN_POOL_H_
#define MYCELIUM_BUS_LOAN_POOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "mycelium/base/mutex.h"
#include "mycelium/transport/lane/loan_memory.h"

namespace mycelium {

// Memory that the loans of one publisher take turns in, so that a steady stream
// of them allocates nothing. If some subscriber reads in shared memory, loans
// lie in memory that it can map: in pieces whose size is a power of two, each
// with room for several loans of one size, together never more than
// kSharedBytesMax.
//
// Thread safety: all members may be called from any thread.
class LoanPool final : public std::enable_shared_from_this<LoanPool> {
 public:
  // How many pieces that only this process can read are kept for later, at
  // most.
  static constexpr size_t kSpareMax = 8;
  static constexpr size_t kSharedBytesMax = 256 << 20;
  // After so many loans the pool forgets what it has seen of them: how large
  // the largest was, and that no memory was available.
  static constexpr int kLoansRemembered = 1024;
  // A loan begins at a multiple of this. Nothing that is written there needs
  // more, not even by SIMD.
  static constexpr size_t kAlignment = 64;

  template <typename T>
  struct AlignedAllocator {
    using value_type = T;
    AlignedAllocator() = default;
    template <typename U>
    explicit AlignedAllocator(const AlignedAllocator<U>&) {}
    T* allocate(size_t count) {
      return static_cast<T*>(
          ::operator new (count * sizeof(T), std::align_val_t{kAlignment}));
    }
    void deallocate(T* memory, size_t) {
      ::operator delete (memory, std::align_val_t{kAlignment});
    }
    friend bool operator==(AlignedAllocator, AlignedAllocator) { return true; }
    friend bool operator!=(AlignedAllocator, AlignedAllocator) { return false; }
  };
  using OwnBytes = std::vector<std::byte, AlignedAllocator<std::byte>>;

  // What a pool needs to lend memory that peers may map.
  struct Lender {
    // Makes such memory; null if none is available.
    absl::FunctionRef<std::shared_ptr<LoanMemory>(size_t bytes)> make;
    // Lets go of loans that are published and handled.
    absl::FunctionRef<void()> finish;
  };

  // The bytes of one loan. They go back to the pool when their last owner lets
  // go: the loan, and then the subscriptions that have not finished it.
  class Memory final {
   public:
    Memory(std::shared_ptr<LoanPool> pool, OwnBytes own)
        : pool_(std::move(pool)),
          own_(std::move(own)),
          bytes_(absl::MakeSpan(own_)) {}
    Memory(std::shared_ptr<LoanPool> pool, LoanPlace place, size_t bytes)
        : pool_(std::move(pool)),
          place_(std::move(place)),
          bytes_(place_.memory->bytes().subspan(place_.offset, bytes)) {}
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() {
      if (place_.memory != nullptr) {
        pool_->GiveBack(std::move(place_));
      } else {
        pool_->GiveBack(std::move(own_));
      }
    }

    absl::Span<std::byte> bytes() { return bytes_; }
    // Null: only this process can read them.
    const LoanPlace* place() const {
      return place_.memory == nullptr ? nullptr : &place_;
    }

   private:
    const std::shared_ptr<LoanPool> pool_;
    OwnBytes own_;
    LoanPlace place_;
    const absl::Span<std::byte> bytes_;
  };

  LoanPool() = default;
  LoanPool(const LoanPool&) = delete;
  LoanPool& operator=(const LoanPool&) = delete;
  ~LoanPool();

  // `lender`: null if no peer would read the loan in shared memory.
  std::shared_ptr<Memory> Take(size_t bytes, const Lender* lender);

 private:
  // The allocator of Memory and the count of its owners: blocks of one size.
  template <typename T>
  class Blocks final {
   public:
    using value_type = T;
    explicit Blocks(std::shared_ptr<LoanPool> pool) : pool_(std::move(pool)) {}
    template <typename U>
    explicit Blocks(const Blocks<U>& other) : pool_(other.pool()) {}

    T* allocate(size_t count) {
      return static_cast<T*>(pool_->TakeBlock(count * sizeof(T)));
    }
    void deallocate(T* block, size_t) { pool_->GiveBackBlock(block); }
    const std::shared_ptr<LoanPool>& pool() const { return pool_; }

    template <typename U>
    bool operator==(const Blocks<U>& other) const {
      return pool_ == other.pool();
    }
    template <typename U>
    bool operator!=(const Blocks<U>& other) const {
      return !(*this == other);
    }

   private:
    std::shared_ptr<LoanPool> pool_;
  };

  struct Made {
    std::weak_ptr<LoanMemory> memory;
    size_t bytes;
  };

  OwnBytes TakeOwn(size_t bytes);
  // A place without memory: none is available.
  LoanPlace TakeShared(size_t bytes, const Lender& lender);
  LoanPlace TakeFree(size_t bytes);
  // From now on places have `slot_bytes`; the free ones go to `dropped`.
  void SetSlotBytes(size_t slot_bytes, std::vector<LoanPlace>* dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // How large the next memory is to be. 0: none is to be made.
  size_t NextBytes() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveBack(OwnBytes own);
  void GiveBack(LoanPlace place);
  // A loan in `memory` may still be read, so nothing else is lent there: what
  // is free there goes to `dropped`.
  void Forget(const LoanMemory& memory, std::vector<LoanPlace>* dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void* TakeBlock(size_t bytes);
  void GiveBackBlock(void* block);

  Mutex mutex_;
  std::vector<OwnBytes> spare_ ABSL_GUARDED_BY(mutex_);
  std::vector<void*> blocks_ ABSL_GUARDED_BY(mutex_);
  // Each loan in shared memory has so many bytes to itself. After a larger loan
  // the next memories are made for its size; when there were no such loans for
  // a while, they are made for smaller ones again.
  size_t slot_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t sizes_ ABSL_GUARDED_BY(mutex_) = 0;  // How often that was set.
  // The places and memories of that size, and how many bytes these memories
  // have in all.
  std::vector<LoanPlace> free_ ABSL_GUARDED_BY(mutex_);
  std::vector<Made> memories_ ABSL_GUARDED_BY(mutex_);
  size_t shared_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t making_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // Not yet among those.
  // Memories no longer lent from, mostly of another size, as long as a loan
  // lies there.
  std::vector<Made> old_ ABSL_GUARDED_BY(mutex_);
  // What is remembered of the last loans: whether memory was asked for in vain,
  // the size of the largest, and how many there were.
  bool has_none_ ABSL_GUARDED_BY(mutex_) = false;
  size_t largest_ ABSL_GUARDED_BY(mutex_) = 0;
  int loans_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_LOAN_POOL_H_
