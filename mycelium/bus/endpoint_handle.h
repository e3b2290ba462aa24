#ifndef MYCELIUM_BUS_ENDPOINT_HANDLE_H_
#define MYCELIUM_BUS_ENDPOINT_HANDLE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "mycelium/base/fork_guard.h"
#include "mycelium/bus/node_runtime.h"

namespace mycelium {

// An endpoint that was bound by hand: listens until it is destroyed, or up to
// the end of a handler that keeps the node's thread for longer than a second
// then. Links that were accepted stay.
//
// Thread safety: like any object; not to be destroyed from a handler.
//
// Ownership: keeps the node alive.
class EndpointHandle final {
 public:
  // `listener`: what NodeRuntime::StopListening() takes.
  EndpointHandle(std::shared_ptr<NodeRuntime> node, uint64_t listener,
                 std::string address)
      : node_(std::move(node)),
        listener_(listener),
        address_(std::move(address)) {}
  EndpointHandle(EndpointHandle&&) = default;
  EndpointHandle& operator=(EndpointHandle&&) = delete;
  ~EndpointHandle() {
    if (node_ != nullptr) node_->StopListening(listener_);
  }

  // What others dial: the path of a socket, or host and port, with the port
  // that the kernel chose where 0 was asked for.
  const std::string& address() const { return address_; }
  // The same where it is a path.
  const std::string& path() const { return address_; }

 private:
  LeftInChild<std::shared_ptr<NodeRuntime>> node_;
  uint64_t listener_;
  std::string address_;
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_ENDPOINT_HANDLE_H_
