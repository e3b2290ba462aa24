#ifndef MYCELIUM_TESTING_GATHERING_TRANSPORT_H_
#define MYCELIUM_TESTING_GATHERING_TRANSPORT_H_

#include <memory>
#include <string>
#include <vector>

#include "mycelium/base/environment.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/testing/gathering_channel.h"
#include "mycelium/transport/local_socket/local_transport.h"
#include "mycelium/transport/remote_transport.h"
#include "mycelium/transport/transport.h"

namespace mycelium {

// "grpc" in a simulated world: connections between hosts whose channels gather.
// They use simulated sockets, so that cuts, delays and partitions affect them
// too. A program that links this gets it in place of gRPC
// (MakeRemoteTransport()).
//
// It shares with gRPC what the code above sees: batches, one write at a time,
// flow control, and the loss of all that was under way when a connection ends.
// It does not share threads, TLS, names, keepalive, or the bytes on the wire.
//
// REQUIRES: the environment is that of a SimulatedProcess.
class GatheringTransport final : public Transport {
 public:
  GatheringTransport(Environment& environment, EventLoop& loop,
                     RemoteOptions options);
  // Does not wait: what the sockets do not take at once is lost.
  ~GatheringTransport() override;

  absl::string_view word() const override { return "grpc"; }
  absl::StatusOr<std::unique_ptr<Listener>> Listen(
      const std::string& address, AcceptCallback on_accept) override;
  absl::StatusOr<std::unique_ptr<Channel>> Dial(
      const std::string& address) override;

 private:
  class NamedListener;

  std::unique_ptr<Channel> Wrap(std::unique_ptr<Channel> inner);
  // Keeps a stream until what was sent on it is written, but at most for a
  // second.
  void Finish(const std::shared_ptr<GatheringStream>& stream);
  void Forget(const std::shared_ptr<GatheringStream>& stream);

  Environment& environment_;
  EventLoop& loop_;
  LocalTransport sockets_;
  std::vector<std::shared_ptr<GatheringStream>> finishing_;
  // Posted tasks and timers check this before they touch the object.
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace mycelium

#endif  // MYCELIUM_TESTING_GATHERING_TRANSPORT_H_
