#include "mycelium/bus/endpoint_handle.h"

#include "absl/strings/str_cat.h"

namespace mycelium {

absl::Status EndpointHandle::Stop(absl::Duration timeout) {
  return StopBy(DeadlineOf(timeout));
}

TimeNs EndpointHandle::DeadlineOf(absl::Duration timeout) const {
  if (node_ == nullptr || node_.is_inherited()) return 0;
  return DeadlineAfter(node_->environment().clock.NowNs(), timeout);
}

absl::Status EndpointHandle::StopBy(TimeNs deadline) {
  if (node_ == nullptr || is_stopped_) return absl::OkStatus();
  is_asked_ = true;
  is_stopped_ = node_->StopListening(listener_, deadline);
  if (is_stopped_) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat("stop listening at ", address_, ": the thread of node ",
                   node_->node(), " is busy, and it listens until then"));
}

}  // namespace mycelium
