#include "tests/conformance/forked_child.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mycelium/bus/grpc_endpoint.h"
#include "mycelium/bus/shm_endpoint.h"
#include "mycelium/bus/unix_endpoint.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr unsigned kHangSeconds = 60;
constexpr size_t kLoanBytes = 4096;

// The findings of a child, one line each.
class Findings final {
 public:
  explicit Findings(std::string node) : node_(std::move(node)) {}

  // Checks that the call says FAILED_PRECONDITION and names the bus.
  void ExpectForked(absl::string_view call, const absl::Status& status) {
    if (status.code() == absl::StatusCode::kFailedPrecondition &&
        absl::StrContains(status.message(), "bus of node " + node_) &&
        absl::StrContains(status.message(), "before fork()")) {
      return;
    }
    absl::StrAppend(&text_, call, ": ", status.ToString(), "\n");
  }
  void Expect(absl::string_view what, bool holds) {
    if (!holds) absl::StrAppend(&text_, what, "\n");
  }
  void ExpectOk(absl::string_view call, const absl::Status& status) {
    if (!status.ok()) {
      absl::StrAppend(&text_, call, ": ", status.ToString(), "\n");
    }
  }
  const std::string& text() const { return text_; }

 private:
  const std::string node_;
  std::string text_;
};

void CallEnds(ForkedThings& things, Findings& findings) {
  const auto forked = [&](absl::string_view call, const absl::Status& status) {
    findings.ExpectForked(call, status);
  };
  const Note note;
  std::byte bytes[64] = {};
  // Large enough that several subscribers would share the bytes.
  const std::vector<std::byte> many(RawPublisher::kSharedBytesMin);
  Publisher<Note>& publisher = *things.publisher;
  forked("Publish", publisher.Publish(note));
  forked("Publish shared", publisher.Publish(std::make_shared<const Note>()));
  forked("typed TryPublish", publisher.TryPublish(note));
  forked("TryPublish shared",
         publisher.TryPublish(std::make_shared<const Note>()));
  forked("WaitForSubscribers", publisher.WaitForSubscribers(1, kLong));
  forked("RoomDescriptor", publisher.RoomDescriptor().status());
  bool is_called = false;
  publisher.CallWhenRoom([&] { is_called = true; });
  findings.Expect("CallWhenRoom called back", !is_called);
  findings.Expect("there are subscribers", publisher.subscriber_count() == 0);
  findings.Expect("there are refusals", publisher.refusals().empty());
  findings.Expect("it has no topic", !publisher.topic().empty());
  RawPublisher& raw = *things.raw_publisher;
  forked("raw Publish", raw.Publish(bytes));
  forked("TryPublish", raw.TryPublish(bytes));
  forked("PublishShared", raw.PublishShared(many));
  forked("TryPublishShared", raw.TryPublishShared(many));
  forked("Publisher::CheckNotForked", raw.CheckNotForked());
  forked("Loan", raw.Loan(kLoanBytes).status());
  findings.Expect("a loan has bytes", things.loan->bytes().empty());
  findings.Expect("a loan is in place", !things.loan->in_place());
  forked("Loan::Publish", things.loan->Publish());
  forked("Loan::TryPublish", things.loan->TryPublish());
  forked("Loan::CheckNotForked", things.loan->CheckNotForked());

  Subscriber<Note>& subscriber = *things.subscriber;
  forked("Receive", subscriber.Receive(kLong).status());
  forked("TryReceive", subscriber.TryReceive().status());
  forked("Descriptor", subscriber.Descriptor().status());
  forked("Subscriber::status", subscriber.status());
  forked("TakeNews", subscriber.TakeNews());
  forked("Subscriber::CheckNotForked", subscriber.CheckNotForked());
  findings.Expect("a subscriber is open", subscriber.closed());
  subscriber.Finish();
  subscriber.Unsubscribe();
  forked("raw Receive", things.raw_subscriber->Receive(kLong).status());
  forked("raw TryReceive", things.raw_subscriber->TryReceive().status());
  for (SubscriptionHandle* const handle : {&*things.in_line, &*things.queued}) {
    forked("SubscriptionHandle::status", handle->status());
    findings.Expect("handler errors", handle->handler_errors() == 0);
    handle->Unsubscribe();
  }
}

void CallBus(MessageBus& bus, const std::string& dir, Findings& findings) {
  const auto forked = [&](absl::string_view call, const absl::Status& status) {
    findings.ExpectForked(call, status);
  };
  const MessageType type = MessageTypeOf<Note>();
  forked("CheckNotForked", bus.CheckNotForked());
  forked("Publisher", bus.Publisher<Note>().status());
  forked("PublisherTo", bus.PublisherTo<Note>("reader").status());
  forked("RawPublisher", bus.RawPublisher(type).status());
  forked("Subscribe",
         bus.Subscribe<Note>([](const Note&, const MessageInfo&) {}).status());
  forked("SubscribeRaw", bus.SubscribeRaw(type, [](absl::Span<const std::byte>,
                                                   const MessageInfo&) {})
                             .status());
  forked("SubscribeParsing",
         bus.SubscribeParsing(type, [](absl::Span<const std::byte>,
                                       const MessageInfo&) { return true; })
             .status());
  forked("Subscriber", bus.Subscriber<Note>().status());
  forked("RawSubscriber", bus.RawSubscriber(type).status());
  forked("Flush", bus.Flush(kLong));
  forked("Close", bus.Close(kLong));
  forked("Close", bus.Close(absl::ZeroDuration()));
  forked("Shutdown", bus.Shutdown(kLong));
  forked("Shutdown", bus.Shutdown(absl::ZeroDuration()));
  forked("Poll", bus.Poll(kLong).status());
  findings.Expect("it is closed", !bus.closed());
  findings.Expect("it has a descriptor", bus.poll_descriptor() == -1);
  findings.Expect("it has flows", bus.FlowReports().empty());
  findings.Expect("it has links", bus.LinkReports().empty());
  findings.Expect("it has no name", !bus.service().empty());
  const std::string path = dir + "/never.sock";
  forked("BindUnixEndpoint", BindUnixEndpoint(path, bus).status());
  forked("BindShmEndpoint", BindShmEndpoint(path, bus).status());
  forked("DialUnixEndpoint", DialUnixEndpoint(path, bus));
  forked("DialShmEndpoint", DialShmEndpoint(path, bus));
  forked("ListenRemote", bus.runtime()->ListenRemote("127.0.0.1:0").status());
  forked("DialRemote", bus.runtime()->DialRemote(dir));
}

void CallTransport(SharedMemoryTransport& transport, Findings& findings) {
  const auto forked = [&](absl::string_view call, const absl::Status& status) {
    findings.ExpectForked(call, status);
  };
  forked("Publisher", transport.Publisher<Note>().status());
  forked("Subscriber", transport.Subscriber<Note>().status());
  forked("Flush", transport.Flush(kLong));
  forked("Shutdown", transport.Shutdown(kLong));
  forked("WaitForPeer", transport.WaitForPeer(kLong));
  findings.Expect("Stats", transport.Stats().connections == 0);
  findings.Expect("path", !transport.path().empty());
}

// Sends a message from one bus to the other, or to itself. Each call has a
// topic of its own: the subscription of the previous call may not have ended
// everywhere.
void SendOne(MessageBus& from, MessageBus& to, const std::string& topic,
             Findings& findings) {
  SubscriberOptions subscribes;
  subscribes.topic = topic;
  PublisherOptions publishes;
  publishes.topic = topic;
  auto subscriber = to.Subscriber<Note>(subscribes);
  auto publisher = from.Publisher<Note>(publishes);
  findings.ExpectOk("own Subscriber", subscriber.status());
  findings.ExpectOk("own Publisher", publisher.status());
  if (!subscriber.ok() || !publisher.ok()) return;
  findings.ExpectOk("own wait", publisher->WaitForSubscribers(1, kLong));
  Note note;
  note.set_id(7);
  findings.ExpectOk("own Publish", publisher->Publish(note));
  const absl::StatusOr<const Note*> got = subscriber->Receive(kLong);
  findings.ExpectOk("own Receive", got.status());
  findings.Expect("own message", got.ok() && (*got)->id() == 7);
  subscriber->Finish();
  findings.ExpectOk("own Flush", from.Flush(kLong));
  Ledger sum;
  for (const FlowReport& flow : from.FlowReports()) sum += flow.ledger;
  findings.Expect("own message in flight", sum.in_flight == 0);
  findings.Expect("own message dropped", sum.dropped_total() == 0);
}

void UseOwnGrpc(MessageBus& from, MessageBus& to, bool parent_used_it,
                Findings& findings) {
  auto endpoint = BindGrpcEndpoint("127.0.0.1:0", to);
  if (!parent_used_it) {
    findings.ExpectOk("own gRPC endpoint", endpoint.status());
    if (!endpoint.ok()) return;
    findings.ExpectOk("own dial", DialGrpcEndpoint(endpoint->address(), from));
    return SendOne(from, to, "remote", findings);
  }
  findings.Expect(
      "own gRPC endpoint says nothing of the parent",
      endpoint.status().code() == absl::StatusCode::kFailedPrecondition &&
          absl::StrContains(endpoint.status().message(), "was forked from"));
}

void UseOwnBuses(const std::string& dir, bool parent_used_grpc,
                 Findings& findings) {
  auto first = MessageBus::Create();
  auto second = MessageBus::Create();
  auto third = MessageBus::Create();
  // Calls on the registry.
  auto shared = MessageBus::OfProcess("");
  findings.ExpectOk("own bus", first.status());
  findings.ExpectOk("own bus", second.status());
  findings.ExpectOk("own bus", third.status());
  findings.ExpectOk("own bus", shared.status());
  if (!first.ok() || !second.ok() || !third.ok() || !shared.ok()) return;
  SendOne(**shared, **shared, "local", findings);
  const std::string path = absl::StrCat(dir, "/", getpid());
  auto unix_endpoint = BindUnixEndpoint(path + ".unix", **first);
  auto shm_endpoint = BindShmEndpoint(path + ".shm", **third);
  findings.ExpectOk("own endpoint", unix_endpoint.status());
  findings.ExpectOk("own endpoint", shm_endpoint.status());
  findings.ExpectOk("own dial", DialUnixEndpoint(path + ".unix", **second));
  findings.ExpectOk("own dial", DialShmEndpoint(path + ".shm", **second));
  SendOne(**second, **first, "unix", findings);
  SendOne(**third, **second, "shm", findings);
  UseOwnGrpc(**first, **third, parent_used_grpc, findings);
  findings.ExpectOk("own Shutdown", (*second)->Shutdown(kLong));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ForkedThings>> ForkedThings::Make(
    std::unique_ptr<MessageBus> bus, const std::string& dir) {
  auto things = std::make_unique<ForkedThings>();
  things->bus = std::move(bus);
  MessageBus& made = *things->bus;
  // They have a topic of their own, so that they exist and get no messages.
  PublisherOptions publishes;
  publishes.topic = "things";
  SubscriberOptions subscribes;
  subscribes.topic = "things";
  const auto named = [&](const std::string& name) {
    subscribes.name = name;
    return subscribes;
  };
  auto publisher = made.Publisher<Note>(publishes);
  if (!publisher.ok()) return publisher.status();
  auto raw = made.RawPublisher(MessageTypeOf<Note>(), "", publishes);
  if (!raw.ok()) return raw.status();
  auto loan = raw->Loan(kLoanBytes);
  if (!loan.ok()) return loan.status();
  auto subscriber = made.Subscriber<Note>(named("pull"));
  if (!subscriber.ok()) return subscriber.status();
  auto raw_subscriber = made.RawSubscriber(MessageTypeOf<Note>(), named("raw"));
  if (!raw_subscriber.ok()) return raw_subscriber.status();
  const auto ignore = [](const Note&, const MessageInfo&) {};
  auto in_line = made.Subscribe<Note>(ignore, named("inline"));
  if (!in_line.ok()) return in_line.status();
  subscribes.delivery = DeliveryMode::kQueued;
  auto queued = made.Subscribe<Note>(ignore, named("queued"));
  if (!queued.ok()) return queued.status();
  things->stats = std::make_shared<EndpointStats>();
  auto endpoint = BindUnixEndpoint(dir + "/things.sock", made, things->stats);
  if (!endpoint.ok()) return endpoint.status();
  auto transport = SharedMemoryTransport::Create(dir + "/things.shm");
  if (!transport.ok()) return transport.status();
  auto opened = SharedMemoryTransport::Open(dir + "/things.shm");
  if (!opened.ok()) return opened.status();
  if (absl::Status met = (*opened)->WaitForPeer(kLong); !met.ok()) return met;
  things->opened = *std::move(opened);
  things->publisher.emplace(*std::move(publisher));
  things->raw_publisher.emplace(*std::move(raw));
  things->loan.emplace(*std::move(loan));
  things->subscriber.emplace(*std::move(subscriber));
  things->raw_subscriber.emplace(*std::move(raw_subscriber));
  things->in_line.emplace(*std::move(in_line));
  things->queued.emplace(*std::move(queued));
  things->endpoint.emplace(*std::move(endpoint));
  things->transport = *std::move(transport);
  return things;
}

std::string UseInForkedChild(std::unique_ptr<ForkedThings>& things,
                             const std::string& dir, bool parent_used_grpc) {
  int pipe_ends[2];
  if (pipe(pipe_ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    alarm(kHangSeconds);
    close(pipe_ends[0]);
    Findings findings(things->bus->node());
    CallEnds(*things, findings);
    CallBus(*things->bus, dir, findings);
    findings.Expect("stats", things->stats->Read().connections == 0);
    Findings of_transport(things->transport->bus().node());
    CallTransport(*things->transport, of_transport);
    Findings of_opened(things->opened->bus().node());
    CallTransport(*things->opened, of_opened);
    UseOwnBuses(dir, parent_used_grpc, findings);
    things = nullptr;
    const std::string text =
        of_opened.text() + of_transport.text() + findings.text();
    (void)!write(pipe_ends[1], text.data(), text.size());
    close(pipe_ends[1]);
    std::exit(0);
  }
  close(pipe_ends[1]);
  std::string text;
  char bytes[4096];
  for (ssize_t count; (count = read(pipe_ends[0], bytes, sizeof bytes)) > 0;) {
    text.append(bytes, static_cast<size_t>(count));
  }
  close(pipe_ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) {
    absl::StrAppend(&text, "the child died of signal ", WTERMSIG(status));
  } else if (WEXITSTATUS(status) != 0) {
    absl::StrAppend(&text, "the child exited with ", WEXITSTATUS(status));
  }
  return text;
}

}  // namespace mycelium::test
