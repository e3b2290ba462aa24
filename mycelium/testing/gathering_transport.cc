#include "mycelium/testing/gathering_transport.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mycelium {
namespace {

// How long a peer may take to read what was sent before Close().
constexpr int64_t kLingerNs = 1'000'000'000;

LocalTransport::Options SocketOptions(const RemoteOptions& options) {
  LocalTransport::Options sockets;
  sockets.frame_bytes_max = options.frame_bytes_max;
  sockets.log = options.log;
  return sockets;
}

std::string PathOf(const std::string& address) {
  return absl::StrCat("/simulated/", address, ".sock");
}

}  // namespace

// Listens at the sockets, and names the address as others dial it.
class GatheringTransport::NamedListener final : public Listener {
 public:
  NamedListener(std::string address, std::unique_ptr<Listener> sockets)
      : address_(std::move(address)), sockets_(std::move(sockets)) {}
  const std::string& address() const override { return address_; }

 private:
  const std::string address_;
  const std::unique_ptr<Listener> sockets_;
};

GatheringTransport::GatheringTransport(Environment& environment,
                                       EventLoop& loop, RemoteOptions options)
    : environment_(environment),
      loop_(loop),
      sockets_(environment, loop, "grpc", SocketOptions(options)) {}

GatheringTransport::~GatheringTransport() {
  *alive_ = false;
  for (const auto& stream : finishing_) stream->Abandon();
}

absl::StatusOr<std::unique_ptr<Listener>> GatheringTransport::Listen(
    const std::string& address, AcceptCallback on_accept) {
  absl::StatusOr<std::unique_ptr<Listener>> sockets = sockets_.Listen(
      PathOf(address),
      [this, accept = std::move(on_accept)](std::unique_ptr<Channel> channel,
                                            const absl::Status& admitted) {
        accept(Wrap(std::move(channel)), admitted);
      });
  if (!sockets.ok()) return sockets.status();
  return std::make_unique<NamedListener>(address, *std::move(sockets));
}

absl::StatusOr<std::unique_ptr<Channel>> GatheringTransport::Dial(
    const std::string& address) {
  absl::StatusOr<std::unique_ptr<Channel>> socket =
      sockets_.Dial(PathOf(address));
  if (!socket.ok()) return socket.status();
  return Wrap(*std::move(socket));
}

std::unique_ptr<Channel> GatheringTransport::Wrap(
    std::unique_ptr<Channel> inner) {
  // The header's REQUIRES says that it is one.
  auto& sys = static_cast<SimulatedSys&>(environment_.sys);
  return std::make_unique<GatheringChannel>(
      loop_, std::make_shared<GatheringStream>(sys, std::move(inner)),
      [this, alive = alive_](const std::shared_ptr<GatheringStream>& stream) {
        if (*alive) {
          Finish(stream);
        } else {
          stream->Abandon();
        }
      });
}

void GatheringTransport::Finish(
    const std::shared_ptr<GatheringStream>& stream) {
  finishing_.push_back(stream);
  // Posted, so that neither object is on the call stack when the stream is
  // destroyed.
  stream->Finish([this, alive = alive_, stream = stream.get()] {
    loop_.Post([this, alive, stream = stream->shared_from_this()] {
      if (*alive) Forget(stream);
    });
  });
  loop_.RunAt(
      environment_.clock.NowNs() + kLingerNs,
      [this, alive = alive_, kept = std::weak_ptr<GatheringStream>(stream)] {
        const auto left = kept.lock();
        if (*alive && left != nullptr) Forget(left);
      });
}

void GatheringTransport::Forget(
    const std::shared_ptr<GatheringStream>& stream) {
  const auto kept = std::find(finishing_.begin(), finishing_.end(), stream);
  if (kept == finishing_.end()) return;
  finishing_.erase(kept);
  stream->Abandon();
}

std::unique_ptr<Transport> MakeRemoteTransport(Environment& environment,
                                               EventLoop& loop,
                                               RemoteOptions options) {
  return std::make_unique<GatheringTransport>(environment, loop,
                                              std::move(options));
}

}  // namespace mycelium
