#ifndef MYCELIUM_TRANSPORT_GRPC_LINK_SERVER_H_
#define MYCELIUM_TRANSPORT_GRPC_LINK_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/base/sys.h"
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

  // Errors are those of WhyNotListening(); or INVALID_ARGUMENT: [tls] cannot be
  // used.
  static absl::StatusOr<std::unique_ptr<LinkServer>> Start(
      Sys& sys, EventLoop& loop, std::shared_ptr<StreamSet> streams,
      const RemoteOptions& options, const std::string& address,
      OnStream on_stream);
  // As End() with ten seconds.
  ~LinkServer();

  // Nobody can connect any more. Streams that are open stay.
  void StopListening();
  // After StopListening(): whether nothing is left, so that End() need not
  // wait. Does not wait itself.
  bool HasStopped();
  // Cancels what is left, and waits until gRPC lets go of it: up to `wait` for
  // the streams, and again for the connections. False: gRPC did not, and all
  // that it may still call is left in memory. Call it once.
  bool End(absl::Duration wait);

  // With the port that was chosen.
  const std::string& address() const { return address_; }

 private:
  class State;

  LinkServer(std::unique_ptr<State> state, std::string address);

  std::unique_ptr<State> state_;  // Null: ended.
  const std::string address_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_LINK_SERVER_H_
