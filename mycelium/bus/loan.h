#ifndef MYCELIUM_BUS_LOAN_H_
#define MYCELIUM_BUS_LOAN_H_

#include <cstddef>
#include <memory>
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
class LoanPool final {
 public:
  // At most so many are kept for later.
  static constexpr size_t kSpareMax = 8;

  std::vector<std::byte> Take(size_t bytes) {
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

 private:
  Mutex mutex_;
  std::vector<std::vector<std::byte>> spare_ ABSL_GUARDED_BY(mutex_);
};

// Room for a message of a raw publisher, to be written to and then published.
// Several may be open at once and be published in any order; the order of
// Publish() is that of the messages. A loan that is destroyed unpublished
// leaves no trace.
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
       std::shared_ptr<LoanPool> pool, size_t bytes)
      : fan_out_(std::move(fan_out)),
        type_(std::move(type)),
        pool_(std::move(pool)),
        memory_(pool_->Take(bytes)) {}
  Loan(Loan&&) = default;
  Loan& operator=(Loan&& other) {
    GiveBack();
    fan_out_ = std::move(other.fan_out_);
    type_ = std::move(other.type_);
    pool_ = std::move(other.pool_);
    memory_ = std::move(other.memory_);
    return *this;
  }
  ~Loan() { GiveBack(); }

  // To be written. What it holds at first is not defined.
  absl::Span<std::byte> bytes() { return absl::MakeSpan(memory_); }

  // Whether bytes() lie where the subscriber will read them. If not, Publish()
  // copies them, as RawPublisher::Publish() does.
  bool in_place() const { return false; }

  // As RawPublisher::Publish(). After OK the loan is over and has no bytes;
  // after anything else it is as before, and may be published again.
  absl::Status Publish() {
    if (pool_ == nullptr) {
      return absl::FailedPreconditionError("the loan was published already");
    }
    absl::Status sent = fan_out_->Publish(Payload::Bytes(*type_, memory_));
    if (sent.ok()) GiveBack();
    return sent;
  }

 private:
  void GiveBack() {
    if (pool_ != nullptr) pool_->GiveBack(std::move(memory_));
    memory_.clear();
    pool_ = nullptr;
  }

  std::shared_ptr<FanOut> fan_out_;
  std::shared_ptr<const MessageType> type_;
  std::shared_ptr<LoanPool> pool_;  // Null once it is over.
  std::vector<std::byte> memory_;
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_LOAN_H_
