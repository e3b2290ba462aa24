#include "mycelium/transport/local_socket/local_transport.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/transport/local_socket/local_channel.h"
#include "mycelium/transport/local_socket/local_socket.h"
#include "mycelium/transport/record_reader.h"

namespace mycelium {
namespace {

// How long a listener rests when the process is out of descriptors: the
// connection that it cannot take stays ready, so it must not be watched.
constexpr int64_t kRestNs = 100'000'000;
constexpr int kAcceptsAtOnce = 64;

}  // namespace

class LocalTransport::SocketListener final : public Listener,
                                             private EventLoop::Handler {
 public:
  SocketListener(LocalTransport& transport, LocalListener socket,
                 AcceptCallback on_accept)
      : transport_(transport),
        socket_(std::move(socket)),
        on_accept_(
            std::make_shared<const AcceptCallback>(std::move(on_accept))) {}
  ~SocketListener() override {
    *alive_ = false;
    transport_.loop_.Unwatch(socket_.fd());
  }

  absl::Status Watch() {
    return transport_.loop_.Watch(socket_.fd(), EPOLLIN, *this);
  }
  const std::string& address() const override { return socket_.path(); }

 private:
  void OnReady(uint32_t) override {
    for (int i = 0; i < kAcceptsAtOnce; ++i) {
      absl::StatusOr<Fd> fd = AcceptLocal(transport_.environment_, socket_);
      if (!fd.ok()) {
        Rest(fd.status());
        return;
      }
      if (!fd->valid()) return;
      absl::Status admitted;
      absl::StatusOr<std::unique_ptr<Channel>> channel =
          transport_.MakeChannel(*std::move(fd), &admitted);
      if (channel.ok()) {
        // The callback may end this listener.
        const auto alive = alive_;
        const auto on_accept = on_accept_;
        (*on_accept)(*std::move(channel), admitted);
        if (!*alive) return;
      } else {
        transport_.options_.log(
            LogLevel::kWarning,
            absl::StrCat("listener ", socket_.path(),
                         ": refused: ", channel.status().message()));
      }
    }
  }

  void Rest(const absl::Status& status) {
    transport_.options_.log(LogLevel::kError, std::string(status.message()));
    (void)transport_.loop_.Rewatch(socket_.fd(), 0);
    transport_.loop_.RunAt(transport_.environment_.clock.NowNs() + kRestNs,
                           [this, alive = alive_] {
                             if (*alive) {
                               (void)transport_.loop_.Rewatch(socket_.fd(),
                                                              EPOLLIN);
                             }
                           });
  }

  LocalTransport& transport_;
  LocalListener socket_;
  const std::shared_ptr<const AcceptCallback> on_accept_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

absl::StatusOr<std::unique_ptr<Listener>> LocalTransport::Listen(
    const std::string& address, AcceptCallback on_accept) {
  absl::StatusOr<LocalListener> socket = ListenLocal(
      environment_, address, options_.allow_uids.empty() ? 0600 : 0666);
  if (!socket.ok()) return socket.status();
  auto listener = std::make_unique<SocketListener>(*this, *std::move(socket),
                                                   std::move(on_accept));
  if (absl::Status watched = listener->Watch(); !watched.ok()) return watched;
  return listener;
}

absl::StatusOr<std::unique_ptr<Channel>> LocalTransport::Dial(
    const std::string& address) {
  absl::StatusOr<Fd> fd = DialLocal(environment_, address);
  if (!fd.ok()) return fd.status();
  absl::Status admitted;
  absl::StatusOr<std::unique_ptr<Channel>> channel =
      MakeChannel(*std::move(fd), &admitted);
  if (!admitted.ok()) return admitted;
  return channel;
}

absl::StatusOr<std::unique_ptr<Channel>> LocalTransport::MakeChannel(
    Fd fd, absl::Status* admitted) {
  absl::StatusOr<PeerCredentials> peer = PeerOf(environment_, fd.get());
  if (!peer.ok()) return peer.status();
  const int64_t self = environment_.sys.GetEffectiveUid();
  const auto& allowed = options_.allow_uids;
  if (peer->uid != self && peer->uid != 0 &&
      std::find(allowed.begin(), allowed.end(), peer->uid) == allowed.end()) {
    *admitted = absl::PermissionDeniedError(
        absl::StrCat("peer pid ", peer->pid, " has uid ", peer->uid,
                     "; allowed are ", self, " and allow_uids"));
  }
  const size_t buffer_bytes_max =
      std::max(options_.frame_bytes_max, kControlBytesMax) + 64 * 1024;
  return std::make_unique<LocalChannel>(environment_, loop_, std::move(fd),
                                        *peer, buffer_bytes_max,
                                        options_.passes_descriptors);
}

}  // namespace mycelium
