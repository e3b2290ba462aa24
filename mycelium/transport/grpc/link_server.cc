#include "mycelium/transport/grpc/link_server.h"

#include <grpc/grpc.h>
#include <grpc/support/time.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/mutex.h"
#include "mycelium/transport/grpc/connection_arguments.h"
#include "mycelium/transport/grpc/grpc_address.h"
#include "mycelium/transport/grpc/grpc_credentials.h"
#include "mycelium/transport/grpc/why_not_listening.h"
#include "proto/mycelium/v1/link.grpc.pb.h"

namespace mycelium {
namespace {

// Of one connection: a link, and the calls of a client that wants to know more.
// gRPC 1.51 holds no peer to it that does not acknowledge HTTP/2's settings.
constexpr int kStreamsMax = 16;
// A connection on which nothing is called goes after so long.
constexpr int kIdleMs = 60'000;
// Threads for reflection, of which each open call has one: the first thread,
// which waits for calls, and so many others. Further calls are
// RESOURCE_EXHAUSTED.
constexpr int kSyncThreadsMax = 1 + 4;
// How long gRPC has to let go of what was cancelled.
constexpr absl::Duration kEndWait = absl::Seconds(10);

using Count = std::shared_ptr<std::atomic<int64_t>>;

// The listening end of a stream.
class ServerStream final
    : public GrpcStream,
      private ::grpc::ServerBidiReactor<::grpc::ByteBuffer,
                                        ::grpc::ByteBuffer> {
 public:
  // `open` counts this already, until gRPC lets go of it.
  ServerStream(EventLoop& loop, std::shared_ptr<StreamSet> streams, Count open,
               size_t frame_bytes_max, const std::string& peer,
               ::grpc::CallbackServerContext& context)
      : GrpcStream(loop, streams->loans(), frame_bytes_max, peer),
        streams_(std::move(streams)),
        open_(std::move(open)),
        context_(context) {}

  using Reactor =
      ::grpc::ServerBidiReactor<::grpc::ByteBuffer, ::grpc::ByteBuffer>;
  Reactor* reactor() { return this; }

  // Called once, when `streams` has this.
  void Begin() { Begun(); }

  void Cancel() override {
    // Not after OnDone(), when the context is gone.
    MutexLock lock(context_mutex_);
    if (!done_) context_.TryCancel();
  }

 private:
  // GrpcStream:
  void StartReading(::grpc::ByteBuffer* message) override {
    StartRead(message);
  }
  void StartWriting(const ::grpc::ByteBuffer* message) override {
    StartWrite(message);
  }
  void StartEnding() override { Finish(::grpc::Status::OK); }

  // ServerBidiReactor:
  void OnReadDone(bool ok) override { ReadDone(ok); }
  void OnWriteDone(bool ok) override { WriteDone(ok); }
  // By the peer, or because the connection is gone.
  void OnCancel() override { broken_.store(true); }
  void OnDone() override {
    {
      MutexLock lock(context_mutex_);
      done_ = true;
    }
    Ended(broken_.load() ? absl::UnavailableError(absl::StrCat(
                               "the connection to ", peer(), " broke"))
                         : absl::OkStatus());
    open_->fetch_sub(1);
    streams_->Remove(*this);  // Nothing of this may be used any more.
  }

  const std::shared_ptr<StreamSet> streams_;
  const Count open_;
  ::grpc::CallbackServerContext& context_;
  Mutex context_mutex_;
  bool done_ ABSL_GUARDED_BY(context_mutex_) = false;
  std::atomic<bool> broken_{false};
};

// A call that is over before it has begun. It needs no loop, which strangers
// could keep from running; only gRPC has it.
class Refusal final : public ServerStream::Reactor {
 public:
  explicit Refusal(::grpc::Status why) { Finish(std::move(why)); }

 private:
  void OnDone() override { delete this; }
};

// Makes a stream of each call, on gRPC's threads.
class LinkServiceImpl final
    : public v1::Link::WithRawCallbackMethod_Connect<v1::Link::Service> {
 public:
  LinkServiceImpl(EventLoop& loop, std::shared_ptr<StreamSet> streams,
                  const RemoteOptions& options, LinkServer::OnStream on_stream)
      : loop_(loop),
        streams_(std::move(streams)),
        frame_bytes_max_(options.frame_bytes_max),
        waiting_max_(options.links),
        on_stream_(std::move(on_stream)) {}

  ServerStream::Reactor* Connect(
      ::grpc::CallbackServerContext* context) override {
    // Before the look at `stopped_`: pairs with Stop(), then HasOpen().
    open_->fetch_add(1);
    if (stopped_.load()) {
      return Refuse({::grpc::StatusCode::UNAVAILABLE, "not listening"});
    }
    if (waiting_->fetch_add(1) >= waiting_max_) {
      waiting_->fetch_sub(1);
      return Refuse({::grpc::StatusCode::RESOURCE_EXHAUSTED,
                     "too many connections wait to be accepted"});
    }
    RemotePeer peer = PeerFrom(context->peer(), context->auth_context().get());
    auto stream = std::make_shared<ServerStream>(
        loop_, streams_, open_, frame_bytes_max_, DescribePeer(peer), *context);
    ServerStream::Reactor* const reactor = stream->reactor();
    streams_->Add(stream);
    stream->Begin();
    loop_.Post([on_stream = on_stream_, waiting = waiting_, stream,
                peer = std::move(peer)] {
      waiting->fetch_sub(1);
      on_stream(stream, peer);
    });
    return reactor;
  }

  void Stop() { stopped_.store(true); }
  // After Stop(): whether there are streams that need the loop to end.
  bool HasOpen() const { return open_->load() > 0; }

 private:
  ServerStream::Reactor* Refuse(::grpc::Status why) {
    open_->fetch_sub(1);
    streams_->NotifyEnded();
    return new Refusal(std::move(why));
  }

  EventLoop& loop_;
  const std::shared_ptr<StreamSet> streams_;
  const size_t frame_bytes_max_;
  const int64_t waiting_max_;
  const LinkServer::OnStream on_stream_;
  std::atomic<bool> stopped_{false};
  // Streams that the loop has not seen yet, and streams that gRPC has not let
  // go of.
  const Count waiting_ = std::make_shared<std::atomic<int64_t>>(0);
  const Count open_ = std::make_shared<std::atomic<int64_t>>(0);
};

// gRPC has one switch for all servers of the process: ours are built with it
// on, one at a time, and it is put back for those of others.
class HealthCheckingOn final {
 public:
  HealthCheckingOn()
      : lock_(OneAtATime()),
        before_(::grpc::DefaultHealthCheckServiceEnabled()) {
    ::grpc::EnableDefaultHealthCheckService(true);
  }
  ~HealthCheckingOn() { ::grpc::EnableDefaultHealthCheckService(before_); }

 private:
  // One for the one switch.
  static Mutex& OneAtATime() {
    static auto* const mutex = new Mutex;
    return *mutex;
  }

  const MutexLock<> lock_;
  const bool before_;
};

void SetServing(::grpc::Server& server, bool serving) {
  // Null if other code has thrown the switch meanwhile.
  auto* const health = server.GetHealthCheckService();
  if (health == nullptr) return;
  if (serving) {
    health->SetServingStatus("mycelium.v1.Link", true);
  } else {
    health->SetServingStatus(false);
  }
}

}  // namespace

class LinkServer::State final {
 public:
  State(EventLoop& loop, std::shared_ptr<StreamSet> streams,
        const RemoteOptions& options, LinkServer::OnStream on_stream)
      : streams(std::move(streams)),
        service(loop, this->streams, options, std::move(on_stream)) {}

  // Whether gRPC has reported that the server has stopped. It does so when the
  // connections are gone. Their streams may outlast them, and
  // Server::Shutdown() would wait for those without end.
  bool AwaitStopped(absl::Duration wait) {
    if (has_stopped) return true;
    const gpr_timespec until = ::gpr_time_add(
        ::gpr_now(GPR_CLOCK_MONOTONIC),
        ::gpr_time_from_millis(absl::ToInt64Milliseconds(wait), GPR_TIMESPAN));
    has_stopped =
        ::grpc_completion_queue_next(stopped_queue, until, nullptr).type ==
        GRPC_OP_COMPLETE;
    return has_stopped;
  }

  const std::shared_ptr<StreamSet> streams;
  LinkServiceImpl service;
  std::unique_ptr<::grpc::Server> server;
  ::grpc_completion_queue* stopped_queue = nullptr;  // Null: it listens.
  bool has_stopped = false;
};

absl::StatusOr<std::unique_ptr<LinkServer>> LinkServer::Start(
    Sys& sys, EventLoop& loop, std::shared_ptr<StreamSet> streams,
    const RemoteOptions& options, const std::string& address,
    OnStream on_stream) {
  auto credentials = MakeServerCredentials(options);
  if (!credentials.ok()) return credentials.status();
  auto state = std::make_unique<State>(loop, std::move(streams), options,
                                       std::move(on_stream));
  ::grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  // Reflection shows this message, and nothing else here would have it linked.
  (void)v1::LinkMessage::descriptor();
  const HealthCheckingOn health_checking;
  ::grpc::ServerBuilder builder;
  int port = 0;
  for (const std::string& one : AddressesToListenAt(sys, address)) {
    builder.AddListeningPort(one, *credentials, &port);
  }
  builder.RegisterService(&state->service);
  SetConnectionArguments(options, [&](const char* name, int value) {
    builder.AddChannelArgument(name, value);
  });
  // Or two nodes could listen at one port without noticing.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kIdleMs);
  builder.AddChannelArgument(
      GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
      static_cast<int>(absl::ToInt64Milliseconds(options.handshake)));
  // For reflection, which is the only service that keeps a thread.
  using SyncOption = ::grpc::ServerBuilder::SyncServerOption;
  builder.SetSyncServerOption(SyncOption::NUM_CQS, 1);
  builder.SetSyncServerOption(SyncOption::MAX_POLLERS, 1);
  builder.SetResourceQuota(
      ::grpc::ResourceQuota("mycelium").SetMaxThreads(kSyncThreadsMax));
  state->server = builder.BuildAndStart();
  if (state->server == nullptr ||
      (port == 0 && !HostOfAddress(address).empty())) {
    return WhyNotListening(sys, address);
  }
  SetServing(*state->server, true);
  std::string bound = WithPort(address, port);
  return std::unique_ptr<LinkServer>(
      new LinkServer(std::move(state), std::move(bound)));
}

LinkServer::LinkServer(std::unique_ptr<State> state, std::string address)
    : state_(std::move(state)), address_(std::move(address)) {}

LinkServer::~LinkServer() {
  if (state_ != nullptr) (void)End(kEndWait);
}

void LinkServer::StopListening() {
  if (state_->stopped_queue != nullptr) return;
  state_->service.Stop();
  SetServing(*state_->server, false);
  // Server::Shutdown() would wait for the streams, or cancel them. The function
  // below it closes the port and tells when they have ended.
  state_->stopped_queue = ::grpc_completion_queue_create_for_next(nullptr);
  ::grpc_server_shutdown_and_notify(state_->server->c_server(),
                                    state_->stopped_queue, nullptr);
}

bool LinkServer::HasStopped() {
  return state_->AwaitStopped(absl::ZeroDuration()) &&
         !state_->service.HasOpen();
}

bool LinkServer::End(absl::Duration wait) {
  StopListening();
  ::grpc_server_cancel_all_calls(state_->server->c_server());
  const auto has_ended = [this] { return !state_->service.HasOpen(); };
  if (!state_->streams->Await(has_ended, absl::ToInt64Nanoseconds(wait)) ||
      !state_->AwaitStopped(wait)) {
    (void)state_.release();
    return false;
  }
  state_->server->Shutdown(std::chrono::system_clock::now());
  ::grpc_completion_queue_shutdown(state_->stopped_queue);
  (void)::grpc_completion_queue_next(
      state_->stopped_queue, ::gpr_inf_future(GPR_CLOCK_REALTIME), nullptr);
  ::grpc_completion_queue_destroy(state_->stopped_queue);
  state_ = nullptr;
  return true;
}

}  // namespace mycelium
