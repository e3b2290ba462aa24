#include "mycelium/bus/publisher.h"

#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "mycelium/bus/guarded_callback.h"

namespace mycelium {
namespace {

// An error names at most so many links.
constexpr size_t kLinksMax = 4;

std::string NotConnected(const LinkReport& link) {
  return absl::StrCat(
      link.peer.empty() ? link.address : absl::StrCat("node ", link.peer),
      " is not connected", link.last_error.empty() ? "" : ": ",
      link.last_error);
}

// What is known of why there are no more subscribers: "; " and the reason, or
// nothing.
std::string Why(const NodeRuntime& node, const std::string& target_service,
                size_t subscribers) {
  const std::vector<LinkReport> links = node.LinkReports();
  const TopologyNode* const target =
      node.topology() == nullptr
          ? nullptr
          : node.topology()->NodeOfService(target_service);
  if (target != nullptr) {
    if (target->name == node.node()) {
      return absl::StrCat("; service ", target_service,
                          " is one of this node, ", node.node());
    }
    for (const LinkReport& link : links) {
      if (link.peer != target->name) continue;
      if (!link.is_up) return absl::StrCat("; ", NotConnected(link));
      return absl::StrCat(
          "; node ", link.peer, " is connected, and service ", target_service,
          subscribers == 0 ? " of it has no" : " of it has no other",
          " subscription to that topic");
    }
    return "";
  }
  std::string why;
  size_t named = 0;
  for (const LinkReport& link : links) {
    if (link.is_up) continue;
    if (++named > kLinksMax) return absl::StrCat(why, "; ...");
    absl::StrAppend(&why, "; ", NotConnected(link));
  }
  return why;
}

}  // namespace

PublisherBase& PublisherBase::operator=(PublisherBase&& other) {
  if (this == &other) return *this;
  Close();
  node_ = std::move(other.node_);
  fan_out_ = std::move(other.fan_out_);
  return *this;
}

const std::string& PublisherBase::topic() const {
  static const auto* const none = new std::string;
  return moved_from() ? *none : fan_out_->origin().topic;
}

absl::Status PublisherBase::MovedFrom() {
  return absl::FailedPreconditionError("this publisher was moved from");
}

absl::Status PublisherBase::WhyUnusable() const {
  return moved_from() ? MovedFrom() : CheckNotForked();
}

absl::Status PublisherBase::CheckNotForked() const {
  return moved_from() ? absl::OkStatus()
                      : fan_out_.Check(fan_out_->origin().node);
}

absl::Status PublisherBase::CheckOpen() const {
  if (absl::Status open = node_->CheckOpen(); !open.ok()) return open;
  return fan_out_->CheckOpen();
}

absl::Status PublisherBase::WaitForSubscribers(
    size_t count, absl::Duration timeout, const KeepWaiting& keep_waiting) {
  if (!is_usable()) return WhyUnusable();
  Environment& environment = node_->environment();
  const absl::StatusOr<RoomWaiter::Outcome> outcome = node_->WaitWhile(
      keep_waiting, node_->router().changed_event(),
      [&] {
        return subscriber_count() >= count || !CheckOpen().ok() ||
               node_->router().AreRefusalsExplained(*fan_out_);
      },
      DeadlineAfter(environment.clock.NowNs(), timeout), /*spin_ns=*/0);
  if (!outcome.ok()) return outcome.status();
  const size_t now = subscriber_count();
  if (absl::Status open = CheckOpen(); !open.ok()) return open;
  if (now >= count) return absl::OkStatus();
  if (const auto refused = refusals(); !refused.empty()) return refused.front();
  if (*outcome == RoomWaiter::Outcome::kWouldDeadlock) {
    return absl::FailedPreconditionError(
        "WaitForSubscribers() was called from a handler, which it would wait "
        "for");
  }
  return absl::DeadlineExceededError(
      absl::StrCat("topic \"", topic(), "\" has ", now, " of ", count,
                   " subscribers after ", absl::FormatDuration(timeout),
                   Why(*node_, fan_out_->origin().target_service, now)));
}

void PublisherBase::CallWhenRoom(std::function<void()> callback) {
  if (callback == nullptr || !is_usable()) return;
  fan_out_->room_notice().Call(
      Guarded(absl::StrCat("publisher of \"", topic(),
                           "\": callback of CallWhenRoom()"),
              std::move(callback), node_->options().log));
}

absl::Status RawPublisher::PublishShared(absl::Span<const std::byte> bytes) {
  if (!is_usable()) return WhyUnusable();
  if (!IsWorthSharing(bytes.size())) return Publish(bytes);
  absl::StatusOr<mycelium::Loan> copy = CopyOf(bytes);
  return copy.ok() ? copy->Publish() : copy.status();
}

absl::Status RawPublisher::TryPublishShared(absl::Span<const std::byte> bytes) {
  if (!is_usable()) return WhyUnusable();
  if (!IsWorthSharing(bytes.size()) || fan_out_->room_notice().AwaitsRoom()) {
    return TryPublish(bytes);
  }
  absl::StatusOr<mycelium::Loan> copy = CopyOf(bytes);
  return copy.ok() ? copy->TryPublish() : copy.status();
}

absl::StatusOr<mycelium::Loan> RawPublisher::CopyOf(
    absl::Span<const std::byte> bytes) {
  absl::StatusOr<mycelium::Loan> copy = Loan(bytes.size());
  if (copy.ok()) std::memcpy(copy->bytes().data(), bytes.data(), bytes.size());
  return copy;
}

std::shared_ptr<LoanPool::Memory> RawPublisher::TakeMemory(size_t bytes) {
  const bool lends =
      bytes >= Payload::kHandOverBytesMin && fan_out_->MayLendToPeers();
  const auto make = [this](size_t memory_bytes) {
    std::shared_ptr<LoanMemory> memory = node_->MakeLoanMemory(memory_bytes);
    // Offered before the first message, so that messages need not be copied for
    // long.
    if (memory != nullptr) fan_out_->OfferLoans(memory);
    return memory;
  };
  const auto finish = [this] { fan_out_->FinishLoans(); };
  const LoanPool::Lender lender = {make, finish};
  return loans_->Take(bytes, lends ? &lender : nullptr);
}

}  // namespace mycelium
