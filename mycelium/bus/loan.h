#ifndef MYCELIUM_BUS_LOAN_H_
#define MYCELIUM_BUS_LOAN_H_

#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "mycelium/base/mutex.h"
#include "mycelium/message/payload.h"
#include "mycelium/routing/fan_out.h"

namespace mycelium {

// Memory that loans of one publisher take turns in, so that a steady stream of
// them allocates nothing.
//
// Thread safety: all members may be called from any thread.
class LoanPool final : public std::enable_shared_from_this<LoanPool> {
 public:
  // At most so many are kept for later.
  static constexpr size_t kSpareMax = 8;

  // The bytes of one loan. They go back to the pool with their last owner:
  // the loan, or after that the subscriptions that have not finished it.
  class Memory final {
   public:
    Memory(std::shared_ptr<LoanPool> pool, size_t bytes)
        : pool_(std::move(pool)), bytes_(pool_->TakeBytes(bytes)) {}
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() { pool_->GiveBack(std::move(bytes_)); }

    absl::Span<std::byte> bytes() { return absl::MakeSpan(bytes_); }

   private:
    const std::shared_ptr<LoanPool> pool_;
    std::vector<std::byte> bytes_;
  };

  LoanPool() = default;
  LoanPool(const LoanPool&) = delete;
  LoanPool& operator=(const LoanPool&) = delete;
  ~LoanPool() {
    for (void* const block : blocks_) ::operator delete(block);
  }

  std::shared_ptr<Memory> Take(size_t bytes) {
    return std::allocate_shared<Memory>(Blocks<Memory>(shared_from_this()),
                                        shared_from_this(), bytes);
  }

 private:
  // Where Memory and the count of its owners lie: blocks of one size.
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
    void deallocate(T* block, size_t) { pool_->GiveBack(block); }
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

  std::vector<std::byte> TakeBytes(size_t bytes) {
    std::vector<std::byte> memory;
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

  void GiveBack(std::vector<std::byte> memory) {
    MutexLock lock(mutex_);
    if (spare_.size() < kSpareMax) spare_.push_back(std::move(memory));
  }

  void* TakeBlock(size_t bytes) {
    MutexLock lock(mutex_);
    if (blocks_.empty()) return ::operator new(bytes);
    void* const block = blocks_.back();
    blocks_.pop_back();
    return block;
  }

  void GiveBack(void* block) {
    {
      MutexLock lock(mutex_);
      if (blocks_.size() < kSpareMax) {
        blocks_.push_back(block);
        return;
      }
    }
    ::operator delete(block);
  }

  Mutex mutex_;
  std::vector<std::vector<std::byte>> spare_ ABSL_GUARDED_BY(mutex_);
  std::vector<void*> blocks_ ABSL_GUARDED_BY(mutex_);
};

// Room for a message of a raw publisher, to be written to and then published.
//
// Subscriptions of this process get a share of that memory and read the message
// where it was written; it is used again when the last of them has finished it.
// For other processes it is copied, once, when it is published. A loan takes
// its place among the messages only then, so:
//  - several may be open at once, and be published in any order, which is the
//    order of the messages;
//  - an open one holds nothing up and takes no room in a lane, however long it
//    stays open;
//  - one that is destroyed unpublished leaves no trace;
//  - Publish() claims as much room as RawPublisher::Publish() of as many bytes,
//    so a lane bounds what waits there, and blocks and fails like that.
//
// Thread safety: none, but different loans may be used by different threads.
//
// Ownership: may outlive its publisher, after which Publish() is
// FAILED_PRECONDITION.
//
// Example:
//   auto loan = publisher->Loan(image.size_bytes());
//   camera.Read(loan->bytes());
//   absl::Status sent = loan->Publish();
class Loan final {
 public:
  Loan(std::shared_ptr<FanOut> fan_out, std::shared_ptr<const MessageType> type,
       const std::shared_ptr<LoanPool>& pool, size_t bytes)
      : fan_out_(std::move(fan_out)),
        type_(std::move(type)),
        memory_(pool->Take(bytes)) {}

  // To be written until Publish() has returned OK. What it holds at first is
  // not defined.
  absl::Span<std::byte> bytes() {
    return memory_ == nullptr ? absl::Span<std::byte>() : memory_->bytes();
  }

  // Whether bytes() lie where every subscriber of now would read them: they are
  // at least Payload::kHandOverBytesMin, and no subscriber is in another
  // process. If not, Publish() copies them.
  bool in_place() const {
    return memory_ != nullptr &&
           memory_->bytes().size() >= Payload::kHandOverBytesMin &&
           fan_out_->StaysInProcess();
  }

  // As RawPublisher::Publish(). After OK the loan is over and has no bytes;
  // after anything else it is as before, and may be published again.
  absl::Status Publish() {
    if (memory_ == nullptr) {
      return absl::FailedPreconditionError("the loan was published already");
    }
    const absl::Span<const std::byte> bytes = memory_->bytes();
    const std::shared_ptr<const void> owner(memory_, bytes.data());
    absl::Status sent =
        fan_out_->Publish(Payload::Bytes(*type_, bytes, &owner));
    if (sent.ok()) memory_ = nullptr;
    return sent;
  }

 private:
  std::shared_ptr<FanOut> fan_out_;
  std::shared_ptr<const MessageType> type_;
  std::shared_ptr<LoanPool::Memory> memory_;  // Null once it is over.
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_LOAN_H_
