#ifndef MYCELIUM_TRANSPORT_LOCAL_SOCKET_LOCAL_TRANSPORT_H_
#define MYCELIUM_TRANSPORT_LOCAL_SOCKET_LOCAL_TRANSPORT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mycelium/base/environment.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/base/log.h"
#include "mycelium/transport/transport.h"

namespace mycelium {

// Unix sockets, for the transports that reach processes of one host. An address
// is a path. Both sides check the other's uid, as the kernel reports it, before
// a byte is exchanged.
class LocalTransport : public Transport {
 public:
  struct Options {
    // The uids that may be at the other end besides our own and root.
    std::vector<int64_t> allow_uids;
    size_t frame_bytes_max = 0;
    // Whether channels take descriptors that the peer passes.
    bool passes_descriptors = false;
    LogSink log;
  };

  LocalTransport(Environment& environment, EventLoop& loop,
                 absl::string_view word, Options options)
      : environment_(environment),
        loop_(loop),
        word_(word),
        options_(std::move(options)) {}

  absl::string_view word() const override { return word_; }
  absl::StatusOr<std::unique_ptr<Listener>> Listen(
      const std::string& address, AcceptCallback on_accept) override;
  absl::StatusOr<std::unique_ptr<Channel>> Dial(
      const std::string& address) override;

 private:
  class SocketListener;

  // `admitted`: whether the other end may connect.
  absl::StatusOr<std::unique_ptr<Channel>> MakeChannel(Fd fd,
                                                       absl::Status* admitted);

  Environment& environment_;
  EventLoop& loop_;
  const std::string word_;
  const Options options_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LOCAL_SOCKET_LOCAL_TRANSPORT_H_
