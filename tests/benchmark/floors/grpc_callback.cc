#include "tests/benchmark/floors/grpc_callback.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/server_builder.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/floors/grpc_stream.grpc.pb.h"
#include "tests/benchmark/loopback_port.h"
#include "tests/benchmark/pinned_run.h"

namespace mycelium::bench {
namespace {

absl::Status Lost() { return absl::AbortedError("the other side gave up"); }
absl::Status Broken() { return absl::InternalError("grpc_callback: broken"); }

void Number(int64_t number, Chunk* chunk) {
  std::memcpy(chunk->mutable_payload()->data(), &number, sizeof number);
}
int64_t NumberOf(const Chunk& chunk) {
  int64_t number = 0;
  std::memcpy(&number, chunk.payload().data(), sizeof number);
  return number;
}

// Wakes the role's thread; each is set once.
using Signal = std::promise<void>;

// The actions of one end in gRPC's callbacks. The callbacks of one direction
// come one after the other, each on any of gRPC's threads.
struct Callbacks {
  std::function<void(Chunk&)> on_read;  // May take the message away.
  std::function<void()> on_written;
};

// One end of the stream, for the role's thread.
struct Pipe {
  Callbacks* callbacks;
  std::function<void(const Chunk&)> write;  // One at a time.
};

template <typename Base>
class Reactor : public Base {
 public:
  Callbacks callbacks;

  void Read() { this->StartRead(&got_); }
  void OnReadDone(bool ok) override {
    if (!ok) return OnOver();
    callbacks.on_read(got_);
    Read();
  }
  void OnWriteDone(bool ok) override {
    if (ok) callbacks.on_written();
  }

 protected:
  virtual void OnOver() = 0;

 private:
  Chunk got_;
};

class ServerReactor final
    : public Reactor<::grpc::ServerBidiReactor<Chunk, Chunk>> {
 public:
  void OnOver() override { Finish(::grpc::Status::OK); }
  void OnDone() override {}
};

class ClientReactor final
    : public Reactor<::grpc::ClientBidiReactor<Chunk, Chunk>> {
 public:
  Signal done;

  void OnOver() override {}
  void OnDone(const ::grpc::Status&) override { done.set_value(); }
};

// Has one stream; the role starts its first read.
class CallbackServiceImpl final : public Plain::CallbackService {
 public:
  ServerReactor reactor;
  Signal connected;

  ::grpc::ServerBidiReactor<Chunk, Chunk>* Exchange(
      ::grpc::CallbackServerContext*) override {
    connected.set_value();
    return &reactor;
  }
};

// A message, the count of messages seen, and signals when enough were seen.
class Course final {
 public:
  explicit Course(const Case& what) : warm_up_(what.warm_up) {
    all_ = what.warm_up + what.messages;
    chunk.set_payload(std::string(what.bytes, 'x'));
  }

  Chunk chunk;

  // True: the role's thread has been woken and goes on.
  bool Count() {
    const int64_t count = ++count_;
    if (count == warm_up_) warm_.set_value();
    if (count == all_) done_.set_value();
    return count == warm_up_ || count == all_;
  }
  int64_t count() const { return count_; }
  bool is_measured() const { return count_ >= warm_up_; }
  void AwaitWarm() { warm_.get_future().wait(); }
  void AwaitDone() { done_.get_future().wait(); }

 private:
  int64_t warm_up_;
  int64_t all_;
  int64_t count_ = 0;
  Signal warm_;
  Signal done_;
};

// The state that a role's callbacks use. They own it as long as there is a
// stream, which is longer than the role.
struct State {
  State(Stage& its_stage, const Case& what, const Pipe& its_pipe)
      : stage(its_stage), pipe(its_pipe), course(what) {}

  void Write(int64_t number) {
    Number(number, &course.chunk);
    pipe.write(course.chunk);
  }
  // True for the second of two events, which come in any order.
  bool IsSecond() { return events.fetch_add(1) % 2 != 0; }

  Stage& stage;
  const Pipe pipe;
  Course course;
  Chunk got;  // Pong's message that is not answered yet.
  std::atomic<int> events{0};
  std::atomic<bool> in_order{true};
  std::atomic<int64_t> last_ns{0};
  Signal ended;
};
using StatePtr = std::shared_ptr<State>;

// Sends the next message when the last was written and its reply has come.
void PingNext(State& state) {
  if (!state.IsSecond()) return;
  if (state.course.is_measured()) {
    const int64_t now_ns = NowNs();
    state.stage.AddSample((now_ns - state.last_ns) / 2);
    state.last_ns = now_ns;
  }
  if (!state.course.Count()) state.Write(state.course.count());
}

absl::Status Ping(const StatePtr& state, const Case& what,
                  const std::function<void()>& read) {
  Callbacks& callbacks = *state->pipe.callbacks;
  callbacks.on_written = [state] { PingNext(*state); };
  callbacks.on_read = [state](const Chunk& chunk) {
    if (NumberOf(chunk) != state->course.count()) state->in_order = false;
    PingNext(*state);
  };
  read();
  state->Write(0);
  state->course.AwaitWarm();
  if (!state->stage.Begin()) return Lost();
  state->last_ns = NowNs();
  state->stage.MarkFirst(state->last_ns);
  state->Write(what.warm_up);
  state->course.AwaitDone();
  state->stage.End();
  state->stage.MarkLast(state->last_ns, 2 * what.messages);
  return state->in_order ? absl::OkStatus() : Broken();
}

// Writes what came last, once what was written before is gone: until then gRPC
// may read that chunk.
void PongNext(State& state) {
  if (!state.IsSecond()) return;
  state.course.chunk.Swap(&state.got);
  state.pipe.write(state.course.chunk);
}

absl::Status Pong(const StatePtr& state, const Case&,
                  const std::function<void()>& read) {
  state->events = 1;  // As if a reply had been written before.
  Callbacks& callbacks = *state->pipe.callbacks;
  callbacks.on_written = [state] { PongNext(*state); };
  callbacks.on_read = [state](Chunk& chunk) {
    state->got.Swap(&chunk);  // The next one comes after the reply to this one.
    (void)state->course.Count();
    PongNext(*state);
  };
  read();
  state->course.AwaitWarm();
  if (!state->stage.Begin()) return Lost();
  state->course.AwaitDone();
  state->stage.End();
  return absl::OkStatus();
}

absl::Status Send(const StatePtr& state, const Case& what,
                  const std::function<void()>& read) {
  Callbacks& callbacks = *state->pipe.callbacks;
  callbacks.on_read = [state](const Chunk&) { state->ended.set_value(); };
  callbacks.on_written = [state] {
    if (!state->course.Count()) state->Write(state->course.count());
  };
  read();
  state->Write(0);
  state->course.AwaitWarm();
  if (!state->stage.Begin()) return Lost();
  state->stage.MarkFirst(NowNs());
  state->Write(what.warm_up);
  state->course.AwaitDone();
  state->ended.get_future().wait();  // The other side has read all of it.
  state->stage.End();
  return absl::OkStatus();
}

absl::Status Handle(const StatePtr& state, const Case& what,
                    const std::function<void()>& read) {
  Callbacks& callbacks = *state->pipe.callbacks;
  callbacks.on_written = [state] { state->ended.set_value(); };
  callbacks.on_read = [state](const Chunk& chunk) {
    if (NumberOf(chunk) != state->course.count()) state->in_order = false;
    state->last_ns = NowNs();
    (void)state->course.Count();
  };
  read();
  state->course.AwaitWarm();
  if (!state->stage.Begin()) return Lost();
  state->course.AwaitDone();
  state->stage.End();
  state->stage.MarkLast(state->last_ns, what.messages);
  state->Write(0);
  state->ended.get_future().wait();
  return state->in_order ? absl::OkStatus() : Broken();
}

// `read` starts reading.
using Side = absl::Status (*)(const StatePtr&, const Case&,
                              const std::function<void()>& read);

absl::Status Serve(Stage& stage, const Case& what, const std::string& address,
                   Side side) {
  CallbackServiceImpl service;
  ServerReactor& reactor = service.reactor;
  ::grpc::ServerBuilder builder;
  builder.AddListeningPort(address, ::grpc::InsecureServerCredentials());
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterService(&service);
  const std::unique_ptr<::grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) {
    return absl::UnavailableError(absl::StrCat("listening at ", address));
  }
  service.connected.get_future().wait();
  const Pipe pipe = {&reactor.callbacks,
                     [&](const Chunk& chunk) { reactor.StartWrite(&chunk); }};
  const absl::Status status = side(std::make_shared<State>(stage, what, pipe),
                                   what, [&] { reactor.Read(); });
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
  ClientReactor reactor;
  stub->async()->Exchange(&context, &reactor);
  reactor.AddHold();
  reactor.StartCall();
  const Pipe pipe = {&reactor.callbacks,
                     [&](const Chunk& chunk) { reactor.StartWrite(&chunk); }};
  const absl::Status status = side(std::make_shared<State>(stage, what, pipe),
                                   what, [&] { reactor.Read(); });
  reactor.StartWritesDone();
  reactor.RemoveHold();
  reactor.done.get_future().wait();
  return status;
}

}  // namespace

bool GrpcCallbackFloor::Supports(const Case& what) const {
  return what.transport == "grpc" && what.kind == Kind::kRaw &&
         what.wait == Wait::kBlock &&
         (what.mode == Mode::kLatency || what.mode == Mode::kFlood);
}

absl::StatusOr<RoundResult> GrpcCallbackFloor::Run(const Case& what,
                                                   const CpuPair& cpus) {
  const std::string address =
      absl::StrCat("127.0.0.1:", FreeLoopbackPort());  // port: from the kernel
  const bool pings = what.mode == Mode::kLatency;
  PinnedRun run;
  run.cpus = {cpus.first, cpus.second};
  run.deadline_ms = what.deadline_ms;
  run.samples_max = pings ? what.messages : 0;
  run.roles = {[&](Stage& stage) {
                 return Dial(stage, what, address, pings ? Ping : Send);
               },
               [&](Stage& stage) {
                 return Serve(stage, what, address, pings ? Pong : Handle);
               }};
  return RunPinned(run);
}

}  // namespace mycelium::bench
