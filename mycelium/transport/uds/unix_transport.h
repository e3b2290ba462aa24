#ifndef MYCELIUM_TRANSPORT_UDS_UNIX_TRANSPORT_H_
#define MYCELIUM_TRANSPORT_UDS_UNIX_TRANSPORT_H_

#include <utility>

#include "mycelium/transport/local_socket/local_transport.h"

namespace mycelium {

// "unix": between processes of one host, everything over a Unix socket.
class UnixTransport final : public LocalTransport {
 public:
  UnixTransport(Environment& environment, EventLoop& loop, Options options)
      : LocalTransport(environment, loop, "unix", std::move(options)) {}
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_UDS_UNIX_TRANSPORT_H_
