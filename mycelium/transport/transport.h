#ifndef MYCELIUM_TRANSPORT_TRANSPORT_H_
#define MYCELIUM_TRANSPORT_TRANSPORT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mycelium/transport/channel.h"

namespace mycelium {

// Accepts connections until it is destroyed.
class Listener {
 public:
  virtual ~Listener() = default;

  // What others dial.
  virtual const std::string& address() const = 0;
};

// A kind of connection. Adding one means implementing this class and Channel,
// and instantiating tests/conformance with it.
//
// Thread safety: on the thread that runs the event loop, or while nothing runs
// it.
class Transport {
 public:
  // A connection that a peer dialled. `admitted`: PERMISSION_DENIED if the peer
  // may not; it can be told so, and nothing that it says counts.
  using AcceptCallback = std::function<void(std::unique_ptr<Channel>,
                                            const absl::Status& admitted)>;

  virtual ~Transport() = default;

  // The word for it in files, errors and flags: "unix".
  virtual absl::string_view word() const = 0;

  // Listens at `address`.
  //   ALREADY_EXISTS     somebody listens there
  //   PERMISSION_DENIED  this user may not
  //   INVALID_ARGUMENT   no such address is possible
  virtual absl::StatusOr<std::unique_ptr<Listener>> Listen(
      const std::string& address, AcceptCallback on_accept) = 0;

  // Connects to `address`, without waiting.
  //   UNAVAILABLE        nobody listens there
  //   PERMISSION_DENIED  this user may not, or somebody else's process listens
  virtual absl::StatusOr<std::unique_ptr<Channel>> Dial(
      const std::string& address) = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_TRANSPORT_H_
