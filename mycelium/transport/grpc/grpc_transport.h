#ifndef MYCELIUM_TRANSPORT_GRPC_GRPC_TRANSPORT_H_
#define MYCELIUM_TRANSPORT_GRPC_GRPC_TRANSPORT_H_

#include <grpcpp/security/credentials.h>

#include <memory>
#include <string>
#include <vector>

#include "mycelium/base/environment.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/transport/grpc/grpc_channel.h"
#include "mycelium/transport/grpc/link_server.h"
#include "mycelium/transport/grpc/stream_set.h"
#include "mycelium/transport/remote_transport.h"
#include "mycelium/transport/transport.h"

namespace mycelium {

// gRPC: between hosts. An address is whatever gRPC resolves; an address that
// others reach, or that is not on this machine, needs TLS or `insecure`. Each
// dialled connection is a gRPC channel, and so a TCP connection, of its own.
//
// Listen() also returns FAILED_PRECONDITION if it would be in the clear beyond
// this machine, and INVALID_ARGUMENT if [tls] cannot be used. Dial() never
// returns UNAVAILABLE: whether somebody is there shows later. Both return
// FAILED_PRECONDITION in the child of a fork() of a process that had called one
// of them.
//
// Every listener has the standard health checking and reflection services.
//
// Handlers are called in the loop: by the thread that runs it, or by a thread
// of gRPC's that has borrowed it (see GrpcStream).
class GrpcTransport final : public Transport {
 public:
  GrpcTransport(Environment& environment, EventLoop& loop,
                RemoteOptions options);
  // Ends every stream once what was sent before is written, and waits a little
  // for that. What gRPC does not let go of stays in memory.
  ~GrpcTransport() override;

  absl::string_view word() const override { return "grpc"; }
  absl::StatusOr<std::unique_ptr<Listener>> Listen(
      const std::string& address, AcceptCallback on_accept) override;
  absl::StatusOr<std::unique_ptr<Channel>> Dial(
      const std::string& address) override;

 private:
  class GrpcListener;

  GrpcChannel::CheckName CheckNameOf(RemotePeer peer) const;
  // Destroys the stopped servers of which nothing is left.
  void EndStopped();

  Environment& environment_;
  EventLoop& loop_;
  const RemoteOptions options_;
  const std::shared_ptr<StreamSet> streams_;
  std::shared_ptr<::grpc::ChannelCredentials> credentials_;  // Once made.
  // Servers of listeners that are gone. They stay as long as the links do that
  // they accepted.
  std::vector<std::unique_ptr<LinkServer>> stopped_servers_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_GRPC_TRANSPORT_H_
