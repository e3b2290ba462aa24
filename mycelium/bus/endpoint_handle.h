#ifndef MYCELIUM_BUS_ENDPOINT_HANDLE_H_
#define MYCELIUM_BUS_ENDPOINT_HANDLE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mycelium/base/clock.h"
#include "mycelium/base/fork_guard.h"
#include "mycelium/bus/node_runtime.h"

namespace mycelium {

// An endpoint that was bound by hand. It listens until the handle is destroyed;
// if a handler keeps the node's thread for longer than kStopsIn then, it
// listens until that handler returns. Links that were accepted stay.
//
// Thread safety: like any object; not to be stopped or destroyed from a
// handler.
//
// Ownership: keeps the node alive.
class EndpointHandle final {
 public:
  // How long a call that stops listening waits for a handler: by default, and
  // after a deadline that is over.
  static constexpr absl::Duration kStopsIn = absl::Seconds(1);
  static constexpr absl::Duration kStopsInAtLeast = absl::Milliseconds(100);

  // `listener`: what NodeRuntime::StopListening() takes.
  EndpointHandle(std::shared_ptr<NodeRuntime> node, uint64_t listener,
                 std::string address)
      : node_(std::move(node)),
        listener_(listener),
        address_(std::move(address)) {}
  EndpointHandle(EndpointHandle&&) = default;
  EndpointHandle& operator=(EndpointHandle&&) = delete;
  ~EndpointHandle() {
    if (!is_asked_) (void)Stop(kStopsIn);
  }

  // Stops listening. OK also if it had stopped already.
  //   DEADLINE_EXCEEDED  a handler keeps the node's thread; the endpoint still
  //                      listens until that handler returns
  absl::Status Stop(absl::Duration timeout = kStopsIn);
  // The same for all handles in a container, with one timeout for all of them.
  // Returns the first error; the other handles are stopped all the same.
  template <typename Handles>
  static absl::Status StopAll(Handles& handles, absl::Duration timeout) {
    absl::Status status;
    std::optional<TimeNs> deadline;
    for (EndpointHandle& handle : handles) {
      if (!deadline.has_value()) deadline = handle.DeadlineOf(timeout);
      status.Update(handle.StopBy(*deadline));
    }
    return status;
  }

  // What others dial: the path of a socket, or host and port, with the port
  // that the kernel chose where 0 was asked for.
  const std::string& address() const { return address_; }
  // The same where it is a path.
  const std::string& path() const { return address_; }

 private:
  TimeNs DeadlineOf(absl::Duration timeout) const;
  absl::Status StopBy(TimeNs deadline);

  LeftInChild<std::shared_ptr<NodeRuntime>> node_;
  uint64_t listener_;
  std::string address_;
  bool is_asked_ = false;    // To stop.
  bool is_stopped_ = false;  // Has stopped.
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_ENDPOINT_HANDLE_H_
