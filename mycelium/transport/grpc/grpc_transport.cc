#include "mycelium/transport/grpc/grpc_transport.h"

#include <grpcpp/create_channel.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/fork_guard.h"
#include "mycelium/transport/grpc/client_stream.h"
#include "mycelium/transport/grpc/grpc_address.h"
#include "mycelium/transport/grpc/grpc_channel.h"
#include "mycelium/transport/grpc/grpc_credentials.h"
#include "mycelium/transport/grpc/link_server.h"

namespace mycelium {
namespace {

// When a node ends: how long there is to write what was sent last, and then how
// long gRPC has to let go of what was cancelled.
constexpr int64_t kLingerNs = 1'000'000'000;
constexpr int64_t kCancelNs = 10'000'000'000;

// Blocks of up to so many bytes come and go while gRPC reads.
constexpr size_t kBlockBytes = 4 << 20;

// malloc asks the kernel for each large block anew, which clears it, until it
// has seen one as large freed. gRPC reads large messages into such blocks.
void ShowLargeBlockToMalloc() {
  void* volatile block = std::malloc(kBlockBytes);
  std::free(block);
}

// gRPC has its threads once in a process, and an epoll that a child shares.
absl::Status CheckNotForkedSinceFirstUse() {
  static std::atomic<uint32_t> used_in{0};
  uint32_t before = 0;
  const uint32_t now = ForkGuard::Generation();
  if (used_in.compare_exchange_strong(before, now) || before == now) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      "grpc: this process was forked from one that had used it, whose threads "
      "it does not have; exec, or fork before a bus listens or dials");
}

}  // namespace

// Tells the server's callback whether the listener is still there.
class GrpcTransport::GrpcListener final : public Listener {
 public:
  GrpcListener(GrpcTransport& transport, std::unique_ptr<LinkServer> server,
               std::shared_ptr<bool> alive)
      : transport_(transport),
        server_(std::move(server)),
        alive_(std::move(alive)) {}
  ~GrpcListener() override {
    *alive_ = false;
    // Links that were accepted stay, and with them the server that carries
    // them.
    server_->StopListening();
    transport_.stopped_servers_.push_back(std::move(server_));
    transport_.EndStopped();
  }
  const std::string& address() const override { return server_->address(); }

 private:
  GrpcTransport& transport_;
  std::unique_ptr<LinkServer> server_;
  const std::shared_ptr<bool> alive_;
};

GrpcTransport::GrpcTransport(Environment& environment, EventLoop& loop,
                             RemoteOptions options)
    : environment_(environment),
      loop_(loop),
      options_(std::move(options)),
      streams_(std::make_shared<StreamSet>(environment, loop,
                                           [this] { EndStopped(); })) {
  ShowLargeBlockToMalloc();
}

GrpcTransport::~GrpcTransport() {
  streams_->ForgetLoop();
  for (const auto& stream : streams_->All()) {
    stream->ForgetLoop();
    stream->Close();
  }
  (void)streams_->AwaitEmpty(kLingerNs);
  for (const auto& stream : streams_->All()) stream->Cancel();
  bool is_let_go = streams_->AwaitEmpty(kCancelNs);
  for (const auto& server : stopped_servers_) {
    // One wait in vain is enough.
    is_let_go &= server->End(absl::Nanoseconds(is_let_go ? kCancelNs : 0));
  }
  streams_->Close();
  is_let_go &= streams_->loans()->AwaitNone(is_let_go ? kCancelNs : 0);
  streams_->loans()->Close();
  if (is_let_go || options_.log == nullptr) return;
  options_.log(LogLevel::kError,
               "grpc: connections that were cancelled have not ended; what "
               "they use is left in memory");
}

void GrpcTransport::EndStopped() {
  stopped_servers_.erase(
      std::remove_if(stopped_servers_.begin(), stopped_servers_.end(),
                     [](const auto& server) { return server->HasStopped(); }),
      stopped_servers_.end());
}

GrpcChannel::CheckName GrpcTransport::CheckNameOf(RemotePeer peer) const {
  return [peer = std::move(peer),
          admit = options_.admit](const std::string& node) {
    return admit == nullptr ? absl::OkStatus() : admit(peer, node);
  };
}

absl::StatusOr<std::unique_ptr<Listener>> GrpcTransport::Listen(
    const std::string& address, AcceptCallback on_accept) {
  if (absl::Status usable = CheckNotForkedSinceFirstUse(); !usable.ok()) {
    return usable;
  }
  EndStopped();
  if (const std::string fault = AddressFault(address, /*port_min=*/0);
      !fault.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("listening at \"", address, "\": ", fault));
  }
  if (absl::Status allowed = CheckPlaintext(options_, "listening at", address);
      !allowed.ok()) {
    return allowed;
  }
  const auto alive = std::make_shared<bool>(true);
  const auto accept = std::make_shared<AcceptCallback>(std::move(on_accept));
  LinkServer::OnStream on_stream = [this, alive, accept](
                                       std::shared_ptr<GrpcStream> stream,
                                       RemotePeer peer) {
    if (!*alive) {
      stream->Close();
      return;
    }
    (*accept)(std::make_unique<GrpcChannel>(environment_, std::move(stream),
                                            CheckNameOf(std::move(peer))),
              absl::OkStatus());
  };
  // Without a host: all interfaces, which gRPC wants to be named.
  const std::string where =
      address[0] == ':' ? absl::StrCat("[::]", address) : address;
  absl::StatusOr<std::unique_ptr<LinkServer>> server = LinkServer::Start(
      environment_.sys, loop_, streams_, options_, where, std::move(on_stream));
  if (!server.ok()) return server.status();
  return std::make_unique<GrpcListener>(*this, *std::move(server), alive);
}

absl::StatusOr<std::unique_ptr<Channel>> GrpcTransport::Dial(
    const std::string& address) {
  if (absl::Status usable = CheckNotForkedSinceFirstUse(); !usable.ok()) {
    return usable;
  }
  if (absl::Status allowed = CheckPlaintext(options_, "dialling", address);
      !allowed.ok()) {
    return allowed;
  }
  if (credentials_ == nullptr) {
    auto made = MakeChannelCredentials(options_);
    if (!made.ok()) return made.status();
    credentials_ = *std::move(made);
  }
  ::grpc::ChannelArguments arguments = ClientArguments(options_);
  RemotePeer peer;
  peer.address = address;
  peer.is_dialled = true;
  peer.is_loopback = IsLoopbackAddress(address);
  if (peer.is_loopback) {
    // The connection may be in the clear because it stays on this machine.
    // Through a proxy of the environment it would not.
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  }
  if (options_.tls.enabled()) {
    // gRPC has compared the name with the certificate by the time that the peer
    // says who it is.
    std::string name = HostOfAddress(address);
    if (options_.certificate_name != nullptr) {
      const std::string given = options_.certificate_name(address);
      if (!given.empty() && given != name) {
        arguments.SetSslTargetNameOverride(given);
        name = given;
      }
    }
    peer.has_certificate = true;
    peer.names = {name};
  }
  auto stream = std::make_shared<ClientStream>(
      loop_, streams_, options_.frame_bytes_max, address,
      ::grpc::CreateCustomChannel(address, credentials_, arguments));
  streams_->Add(stream);
  stream->Begin();
  return std::make_unique<GrpcChannel>(environment_, std::move(stream),
                                       CheckNameOf(std::move(peer)));
}

std::unique_ptr<Transport> MakeRemoteTransport(Environment& environment,
                                               EventLoop& loop,
                                               RemoteOptions options) {
  return std::make_unique<GrpcTransport>(environment, loop, std::move(options));
}

}  // namespace mycelium
