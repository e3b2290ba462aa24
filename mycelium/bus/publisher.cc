#include "mycelium/bus/publisher.h"

#include "absl/strings/str_cat.h"

namespace mycelium {

absl::Status PublisherBase::WaitForSubscribers(
    size_t count, absl::Duration timeout, const KeepWaiting& keep_waiting) {
  Environment& environment = node_->environment();
  const absl::StatusOr<RoomWaiter::Outcome> outcome = node_->WaitWhile(
      keep_waiting, node_->router().changed_event(),
      [&] {
        return subscriber_count() >= count || !node_->CheckOpen().ok() ||
               node_->router().AreRefusalsExplained(*fan_out_);
      },
      DeadlineAfter(environment.clock.NowNs(), timeout), /*spin_ns=*/0);
  if (!outcome.ok()) return outcome.status();
  const size_t now = subscriber_count();
  if (absl::Status open = node_->CheckOpen(); !open.ok()) return open;
  if (now >= count) return absl::OkStatus();
  if (const auto refused = refusals(); !refused.empty()) return refused.front();
  if (*outcome == RoomWaiter::Outcome::kWouldDeadlock) {
    return absl::FailedPreconditionError(
        "WaitForSubscribers() was called from a handler, which it would wait "
        "for");
  }
  return absl::DeadlineExceededError(
      absl::StrCat("topic \"", topic(), "\" has ", now, " of ", count,
                   " subscribers after ", absl::FormatDuration(timeout)));
}

}  // namespace mycelium
