#ifndef MYCELIUM_BUS_LOAN_H_
#define MYCELIUM_BUS_LOAN_H_

#include <cstddef>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "mycelium/base/fork_guard.h"
#include "mycelium/bus/loan_pool.h"
#include "mycelium/message/payload.h"
#include "mycelium/routing/fan_out.h"

namespace mycelium {

// Room for a message of a raw publisher, to be written to and then published.
//
// Subscriptions of this process get a share of that memory and read the message
// where it was written; so do those of other processes of this host and user
// that read in shared memory. The memory is used again when the last of them
// has finished the message. The message is copied, once, when it is published:
// for all other subscriptions; for lossy subscriptions of other processes;
// below 1 KiB; and if it is the first message to a process (where one of the
// two has poll = kCaller, until that one polls). A loan takes its place among
// the messages only when it is published, so:
//  - several loans may be open at once, and be published in any order, which is
//    the order of the messages;
//  - an open loan holds nothing up and takes no room in a lane, however long it
//    stays open;
//  - a loan that is destroyed unpublished leaves no trace;
//  - Publish() claims as much room as RawPublisher::Publish() does for as many
//    bytes. So a lane bounds what waits there, and Publish() blocks and fails
//    as that call does.
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
  // `node`: the node of the fan-out, which may end before the loan.
  Loan(std::weak_ptr<void> node, std::shared_ptr<FanOut> fan_out,
       std::shared_ptr<const MessageType> type,
       std::shared_ptr<LoanPool::Memory> memory)
      : node_(std::move(node)),
        fan_out_(std::move(fan_out)),
        type_(std::move(type)),
        memory_(std::move(memory)) {}

  // May be written to until Publish() has returned OK. What it holds at first
  // is not defined. It begins at a multiple of 64 bytes, also for a
  // subscription that reads the message where it was written.
  absl::Span<std::byte> bytes() {
    return is_over() ? absl::Span<std::byte>() : memory_->bytes();
  }

  // Whether every present subscriber would read bytes() where they lie: they
  // are at least Payload::kHandOverBytesMin, and every subscriber is in this
  // process, or has mapped the memory that they lie in. If not, Publish()
  // copies them for the subscribers for which that is not so.
  bool in_place() const {
    return !is_over() &&
           memory_->bytes().size() >= Payload::kHandOverBytesMin &&
           fan_out_->IsReadInPlace(memory_->place());
  }

  // As RawPublisher::Publish(). After OK the loan is over and has no bytes;
  // after any other status it is as before, and may be published again.
  absl::Status Publish() { return PublishBy(&FanOut::Publish); }

  // The same, but never waits for room: RESOURCE_EXHAUSTED at once.
  absl::Status TryPublish() { return PublishBy(&FanOut::TryPublish); }

  // FAILED_PRECONDITION: the process forked.
  absl::Status CheckNotForked() const {
    if (fan_out_ == nullptr) return absl::OkStatus();
    return fan_out_.Check(fan_out_->origin().node);
  }

 private:
  absl::Status PublishBy(absl::Status (FanOut::*publish)(const Payload&)) {
    if (memory_ == nullptr) {
      return absl::FailedPreconditionError("the loan was published already");
    }
    // A handler may let go of everything else while it runs here.
    const std::shared_ptr<void> node = node_.lock();
    const absl::Span<const std::byte> bytes = memory_->bytes();
    const std::shared_ptr<const void> owner(memory_.get(), bytes.data());
    Payload payload = Payload::Bytes(*type_, bytes, &owner);
    payload.place = memory_->place();
    absl::Status sent = (*fan_out_.*publish)(payload);
    if (sent.ok()) memory_ = {};
    return sent;
  }

  bool is_over() const { return memory_ == nullptr || memory_.is_inherited(); }

  std::weak_ptr<void> node_;
  LeftInChild<std::shared_ptr<FanOut>> fan_out_;
  std::shared_ptr<const MessageType> type_;
  LeftInChild<std::shared_ptr<LoanPool::Memory>> memory_;  // Null: it is over.
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_LOAN_H_
