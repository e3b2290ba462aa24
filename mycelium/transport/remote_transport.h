#ifndef MYCELIUM_TRANSPORT_REMOTE_TRANSPORT_H_
#define MYCELIUM_TRANSPORT_REMOTE_TRANSPORT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/base/log.h"
#include "mycelium/topology/settings.h"
#include "mycelium/transport/transport.h"

namespace mycelium {

// The other end of a connection from another host, as far as the connection
// itself proves its identity.
struct RemotePeer {
  std::string address;       // As the transport writes it.
  bool is_dialled = false;   // By this node: the address was its choice.
  bool is_loopback = false;  // It is on this machine.
  bool has_certificate = false;
  std::vector<std::string> names;  // That its certificate was checked for.
};

struct RemoteOptions {
  size_t frame_bytes_max = 0;
  int64_t links = 0;         // Handshakes that wait at once.
  absl::Duration handshake;  // How long encryption may take to be agreed upon.
  // How soon an end that is silent because it is gone is noticed.
  absl::Duration keepalive;

  Tls tls;
  // Send in the clear beyond this machine.
  bool insecure = false;

  // The name that a peer's certificate must have, by the address at which it is
  // dialled; empty: the host in the address.
  std::function<std::string(const std::string& address)> certificate_name;
  // Whether that peer may be the node of that name: PERMISSION_DENIED if not.
  std::function<absl::Status(const RemotePeer& peer, const std::string& node)>
      admit;
  LogSink log;  // For what gRPC does not let go of at the end; may be null.
};

// The transport between hosts, "grpc". A program has it if it links
// //mycelium/transport/grpc, as it does through //mycelium:mycelium but not
// through //mycelium:local; otherwise the address of this function is null.
std::unique_ptr<Transport> MakeRemoteTransport(Environment& environment,
                                               EventLoop& loop,
                                               RemoteOptions options)
    __attribute__((weak));

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_REMOTE_TRANSPORT_H_
