#ifndef MYCELIUM_TRANSPORT_SHM_SHM_TRANSPORT_H_
#define MYCELIUM_TRANSPORT_SHM_SHM_TRANSPORT_H_

#include <utility>

#include "mycelium/transport/local_socket/local_transport.h"

namespace mycelium {

// "shm": between processes of one host. A Unix socket carries the handshake,
// control messages and doorbells; the frames lie in memory that both map, once
// both have said that they can (see SharedMemory). An address is the path of
// the socket.
class ShmTransport final : public LocalTransport {
 public:
  ShmTransport(Environment& environment, EventLoop& loop, Options options)
      : LocalTransport(environment, loop, "shm", WithDescriptors(options)) {}

 private:
  static Options WithDescriptors(Options options) {
    options.passes_descriptors = true;
    return options;
  }
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_SHM_SHM_TRANSPORT_H_
