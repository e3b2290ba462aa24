#ifndef MYCELIUM_TRANSPORT_GRPC_LINK_SERVER_H_
#define MYCELIUM_TRANSPORT_GRPC_LINK_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/transport/grpc/grpc_stream.h"
#include "mycelium/transport/grpc/stream_set.h"
#include "mycelium/transport/remote_transport.h"

namespace mycelium {

// A gRPC server with mycelium.v1.Link, health checking and reflection.
class LinkServer final {
 public:
  // Called on the loop for each stream that somebody opens.
  using OnStream =
      std::function<void(std::shared_ptr<GrpcStream> stream, RemotePeer peer)>;

  //   ALREADY_EXISTS    somebody listens there
  //   INVALID_ARGUMENT  [tls] cannot be used
  static absl::StatusOr<std::unique_ptr<LinkServer>> Start(
      EventLoop& loop, StreamSet& streams, const RemoteOptions& options,
      const std::string& address, OnStream on_stream);
  // Cancels what is left.
  ~LinkServer();

  // Nobody can connect any more. Streams that are open stay.
  void StopListening();

  // With the port that it has become.
  const std::string& address() const { return address_; }

 private:
  class State;

  LinkServer(std::unique_ptr<State> state, std::string address);

  const std::unique_ptr<State> state_;
  const std::string address_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_LINK_SERVER_H_
