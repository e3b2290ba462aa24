#include "tests/benchmark/floors/grpc_stream.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/server_builder.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <future>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/floors/grpc_stream.grpc.pb.h"
#include "tests/benchmark/loopback_port.h"
#include "tests/benchmark/pinned_run.h"

namespace mycelium::bench {
namespace {

// Either end of the stream.
struct Pipe {
  std::function<bool(const Chunk&)> write;
  std::function<bool(Chunk*)> read;
};

template <typename Stream>
Pipe PipeOf(Stream* stream) {
  return {[stream](const Chunk& chunk) { return stream->Write(chunk); },
          [stream](Chunk* chunk) { return stream->Read(chunk); }};
}

absl::Status Lost() { return absl::AbortedError("the other side gave up"); }
absl::Status Broken() { return absl::InternalError("grpc_stream: broken"); }

Chunk ChunkOf(const Case& what) {
  Chunk chunk;
  chunk.set_payload(std::string(what.bytes, 'x'));
  return chunk;
}

void Number(int64_t number, Chunk* chunk) {
  std::memcpy(chunk->mutable_payload()->data(), &number, sizeof number);
}
int64_t NumberOf(const Chunk& chunk) {
  int64_t number = 0;
  std::memcpy(&number, chunk.payload().data(), sizeof number);
  return number;
}

absl::Status Ping(Stage& stage, const Case& what, const Pipe& pipe) {
  Chunk sent = ChunkOf(what);
  Chunk got;
  auto round_trip = [&] { return pipe.write(sent) && pipe.read(&got); };
  for (int64_t i = 0; i < what.warm_up; ++i) {
    if (!round_trip()) return Broken();
  }
  if (!stage.Begin()) return Lost();
  int64_t last_ns = NowNs();
  stage.MarkFirst(last_ns);
  for (int64_t i = 0; i < what.messages; ++i) {
    Number(i, &sent);
    if (!round_trip()) return Broken();
    const int64_t now_ns = NowNs();
    stage.AddSample((now_ns - last_ns) / 2);
    last_ns = now_ns;
  }
  stage.End();
  stage.MarkLast(last_ns, 2 * what.messages);
  if (NumberOf(got) == what.messages - 1) return absl::OkStatus();
  return absl::DataLossError("the last reply is not an echo");
}

absl::Status Pong(Stage& stage, const Case& what, const Pipe& pipe) {
  Chunk chunk;
  auto echo = [&] { return pipe.read(&chunk) && pipe.write(chunk); };
  for (int64_t i = 0; i < what.warm_up; ++i) {
    if (!echo()) return Broken();
  }
  if (!stage.Begin()) return Lost();
  for (int64_t i = 0; i < what.messages; ++i) {
    if (!echo()) return Broken();
  }
  stage.End();
  return absl::OkStatus();
}

// Flood, and open loop at a rate. The messages of the latter are numbered by
// the time at which they should be sent.
absl::Status Send(Stage& stage, const Case& what, const Pipe& pipe) {
  Chunk chunk = ChunkOf(what);
  const bool open = what.mode == Mode::kOpen;
  for (int64_t i = 0; !open && i < what.warm_up; ++i) {
    Number(i, &chunk);
    if (!pipe.write(chunk)) return Broken();
  }
  if (!stage.Begin()) return Lost();
  const int64_t start_ns = NowNs();
  stage.MarkFirst(start_ns);
  const double interval_ns = open ? 1e9 / what.rate_per_s : 0;
  for (int64_t i = open ? 0 : what.warm_up; i < what.warm_up + what.messages;
       ++i) {
    int64_t number = i;
    if (open) {
      number =
          start_ns + static_cast<int64_t>(interval_ns * static_cast<double>(i));
      SpinUntil(number);
    }
    Number(number, &chunk);
    if (!pipe.write(chunk)) return Broken();
  }
  // Wait until the other side has read all of it.
  Chunk answer;
  if (!pipe.read(&answer)) return Broken();
  stage.End();
  return absl::OkStatus();
}

absl::Status Handle(Stage& stage, const Case& what, const Pipe& pipe) {
  Chunk chunk;
  const bool open = what.mode == Mode::kOpen;
  const auto take = [&](int64_t expected) {
    return pipe.read(&chunk) && (open || NumberOf(chunk) == expected);
  };
  for (int64_t i = 0; !open && i < what.warm_up; ++i) {
    if (!take(i)) return Broken();
  }
  if (!stage.Begin()) return Lost();
  int64_t now_ns = 0;
  for (int64_t i = open ? 0 : what.warm_up; i < what.warm_up + what.messages;
       ++i) {
    if (!take(i)) return Broken();
    if (!open) continue;
    now_ns = NowNs();
    if (i >= what.warm_up) stage.AddSample(now_ns - NumberOf(chunk));
  }
  now_ns = NowNs();
  stage.End();
  stage.MarkLast(now_ns, what.messages + (open ? what.warm_up : 0));
  return pipe.write(chunk) ? absl::OkStatus() : Broken();
}

using Side = absl::Status (*)(Stage&, const Case&, const Pipe&);

// Lends its one stream to the caller of Lend(), until the caller gives it back.
class PlainServiceImpl final : public Plain::Service {
 public:
  using Stream = ::grpc::ServerReaderWriter<Chunk, Chunk>;

  ::grpc::Status Exchange(::grpc::ServerContext*, Stream* stream) override {
    lent_.set_value(stream);
    back_.get_future().wait();
    return ::grpc::Status::OK;
  }
  Stream* Lend() { return lent_.get_future().get(); }
  void GiveBack() { back_.set_value(); }

 private:
  std::promise<Stream*> lent_;
  std::promise<void> back_;
};

absl::Status Serve(Stage& stage, const Case& what, const std::string& address,
                   Side side) {
  PlainServiceImpl service;
  ::grpc::ServerBuilder builder;
  builder.AddListeningPort(address, ::grpc::InsecureServerCredentials());
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterService(&service);
  const std::unique_ptr<::grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) {
    return absl::UnavailableError(absl::StrCat("listening at ", address));
  }
  const absl::Status status = side(stage, what, PipeOf(service.Lend()));
  service.GiveBack();
  server->Shutdown();
  return status;
}

absl::Status Dial(Stage& stage, const Case& what, const std::string& address,
                  Side side) {
  ::grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  // The server may not listen yet.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 10);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 10);
  const auto stub = Plain::NewStub(::grpc::CreateCustomChannel(
      address, ::grpc::InsecureChannelCredentials(), arguments));
  ::grpc::ClientContext context;
  context.set_wait_for_ready(true);
  const auto stream = stub->Exchange(&context);
  const absl::Status status = side(stage, what, PipeOf(stream.get()));
  stream->WritesDone();
  (void)stream->Finish();
  return status;
}

}  // namespace

bool GrpcStreamFloor::Supports(const Case& what) const {
  return what.transport == "grpc" && what.kind == Kind::kRaw &&
         what.wait == Wait::kBlock && what.mode != Mode::kWake;
}

absl::StatusOr<RoundResult> GrpcStreamFloor::Run(const Case& what,
                                                 const CpuPair& cpus) {
  const std::string address =
      absl::StrCat("127.0.0.1:", FreeLoopbackPort());  // port: from the kernel
  const bool pings = what.mode == Mode::kLatency;
  PinnedRun run;
  run.cpus = {cpus.first, cpus.second};
  run.deadline_ms = what.deadline_ms;
  run.samples_max = what.mode == Mode::kFlood ? 0 : what.messages;
  run.sampling_role = what.mode == Mode::kOpen ? 1 : 0;
  run.roles = {[&](Stage& stage) {
                 return Dial(stage, what, address, pings ? Ping : Send);
               },
               [&](Stage& stage) {
                 return Serve(stage, what, address, pings ? Pong : Handle);
               }};
  return RunPinned(run);
}

}  // namespace mycelium::bench
