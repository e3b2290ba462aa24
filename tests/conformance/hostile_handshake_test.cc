// What strangers may do before a link is up, and what it costs the other peers.

#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"
#include "mycelium/schema/digest.h"
#include "tests/conformance/raw_peer.h"
#include "tests/conformance/served_node.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kHuge = 0xFFFFFFF0;

// The bytes of this process's pages that are in memory.
size_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

class HostileHandshakeTest : public ::testing::TestWithParam<std::string> {
 protected:
  static BusOptions ShortHandshake() {
    BusOptions options;
    options.limits.handshake = absl::Milliseconds(100);
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(LocalTransports, HostileHandshakeTest,
                         ::testing::Values("unix", "shm"),
                         [](const auto& info) { return info.param; });

TEST_P(HostileHandshakeTest, OtherProtocolVersionGetsTypedReject) {
  ServedNode served(GetParam());
  RawPeer peer(served.path());
  v1::Hello hello = HelloFrom("future");
  hello.set_protocol_version(kProtocolVersion + 1);
  const v1::Control answer = peer.SayHello(hello);
  ASSERT_TRUE(answer.has_reject());
  EXPECT_EQ(answer.reject().reason(), v1::Reject::PROTOCOL_VERSION);
  EXPECT_THAT(answer.reject().message(),
              HasSubstr(absl::StrCat("version ", kProtocolVersion + 1)));
  EXPECT_TRUE(peer.Closed());
  const auto event = served.EventWith(ConnectionEvent::State::kRefused, "");
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(served.WasTold("node \"future\": protocol version"));
  served.ExpectServesOthers();
}

TEST_P(HostileHandshakeTest, SilentClientIsClosedInTimeAndDelaysNobody) {
  BusOptions options;
  options.limits.handshake = absl::Seconds(3);
  ServedNode served(GetParam(), options);
  RawPeer silent(served.path());
  served.ExpectServesOthers();
  EXPECT_FALSE(silent.ClosedWithin(0)) << "served after it, not beside it";
  EXPECT_TRUE(silent.Closed());
  EXPECT_TRUE(served.WasTold("did not say who it is in time"));
  EXPECT_EQ(
      served.EventWith(ConnectionEvent::State::kRefused, "")->status.code(),
      absl::StatusCode::kDeadlineExceeded);
  served.ExpectServesOthers();
}

TEST_P(HostileHandshakeTest, SilentClientIsClosedWhenTheBusShutsDown) {
  const size_t before = OpenDescriptors();
  {
    ServedNode served(GetParam());
    RawPeer silent(served.path());
    served.ExpectServesOthers();
    served.Shutdown();
    EXPECT_TRUE(silent.Closed());
  }
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST_P(HostileHandshakeTest, ByteAtATimeHelloIsClosedAtTheLimit) {
  ServedNode served(GetParam(), ShortHandshake());
  v1::Control control;
  *control.mutable_hello() = HelloFrom("slow");
  const std::string bytes = ControlBytes(control);
  RawPeer slow(served.path());
  // Each byte is followed by a wait for an answer that never comes, so that one
  // byte is sent per interval.
  size_t sent = 0;
  while (sent < bytes.size() && slow.Send(bytes.substr(sent, 1))) {
    ++sent;
    if (slow.ClosedWithin(/*timeout_ms=*/20)) break;
  }
  EXPECT_LT(sent, bytes.size());
  EXPECT_TRUE(served.WasTold("did not say who it is in time"));
  served.ExpectServesOthers();
}

TEST_P(HostileHandshakeTest, HelloInSingleBytesIsUnderstoodInTime) {
  ServedNode served(GetParam());
  v1::Control control;
  *control.mutable_hello() = HelloFrom("pieces");
  RawPeer peer(served.path());
  for (const char byte : ControlBytes(control)) {
    ASSERT_TRUE(peer.Send(std::string(1, byte)));
  }
  EXPECT_TRUE(peer.Read()->control.has_hello());
}

TEST_P(HostileHandshakeTest, GarbageClosesTheConnectionAtOnce) {
  ServedNode served(GetParam());
  for (const std::string& garbage :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string("\0\0", 2),
        std::string(4096, '\xff')}) {
    RawPeer peer(served.path());
    ASSERT_TRUE(peer.Send(garbage));
    EXPECT_TRUE(peer.Closed());
  }
  EXPECT_TRUE(served.WasTold("record starts with 0x4547, expected 0x794d"));
  EXPECT_EQ(
      served.EventWith(ConnectionEvent::State::kRefused, "")->status.code(),
      absl::StatusCode::kDataLoss);
  served.ExpectServesOthers();
}

TEST_P(HostileHandshakeTest, RecordThatIsNoHelloIsRefused) {
  ServedNode served(GetParam());
  v1::Control goodbye;
  goodbye.mutable_goodbye();
  RawPeer no_hello(served.path());
  no_hello.SendControl(goodbye);
  EXPECT_TRUE(no_hello.Closed());
  EXPECT_TRUE(served.WasTold("the first message is no Hello"));
  RawPeer data(served.path());
  data.SendFrame(0, 0, NoteFrame(1));
  EXPECT_TRUE(data.Closed());
  EXPECT_TRUE(served.WasTold("before the handshake is over"));
  RawPeer unparsable(served.path());
  unparsable.Send(RecordBytes(RecordKind::kControl, "\xff\xff\xff"));
  EXPECT_TRUE(unparsable.Closed());
  EXPECT_TRUE(served.WasTold("the first message does not parse"));
  served.ExpectServesOthers();
}

TEST_P(HostileHandshakeTest, HugeAnnouncedLengthAllocatesNothingOfThatSize) {
  ServedNode served(GetParam());
  served.ExpectServesOthers();
  const size_t before = ResidentBytes();
  RawPeer peer(served.path());
  peer.Send(RecordBytes(RecordKind::kControl, "", 0, 0, kHuge));
  EXPECT_TRUE(peer.Closed());
  EXPECT_TRUE(served.WasTold("of control, at most"));
  RawPeer beyond(served.path());
  beyond.Send(RecordBytes(RecordKind::kControl, "", 0, 0, 64 * 1024 + 1));
  EXPECT_TRUE(beyond.Closed());
  EXPECT_TRUE(served.WasTold("handshake announces 65537 bytes"));
  EXPECT_LT(ResidentBytes(), before + (64 << 20));
  served.ExpectServesOthers();
}

TEST_P(HostileHandshakeTest, NodeNameMustBeThereAndShortAndNotOurs) {
  ServedNode served(GetParam());
  const auto reason_for = [&](const std::string& name) {
    RawPeer peer(served.path());
    const v1::Control answer = peer.SayHello(HelloFrom(name));
    return answer.has_hello() ? v1::Reject::REASON_UNSPECIFIED
                              : answer.reject().reason();
  };
  EXPECT_EQ(reason_for(""), v1::Reject::MALFORMED);
  EXPECT_EQ(reason_for(std::string(256, 'n')), v1::Reject::MALFORMED);
  EXPECT_EQ(reason_for(std::string(255, 'n')), v1::Reject::REASON_UNSPECIFIED);
  EXPECT_EQ(reason_for(std::string(1, '\n') + "forged: all is well"),
            v1::Reject::MALFORMED);
  EXPECT_TRUE(served.WasTold("node \"?forged: all is well\": a node name"));
  EXPECT_EQ(reason_for("served"), v1::Reject::NODE_NAME_TAKEN);
  EXPECT_TRUE(served.WasTold("a Hello needs a node name"));
  RawPeer none(served.path());
  EXPECT_EQ(none.SayHello(HelloFrom("nobody", 0)).reject().reason(),
            v1::Reject::MALFORMED);
  served.ExpectServesOthers();
}

TEST_P(HostileHandshakeTest, RefusalsAtAHighRateDoNotFloodTheLog) {
  constexpr size_t kRefusals = 1000;
  std::atomic<size_t> lines{0};
  BusOptions options;
  options.node = "quiet";
  options.log = [&](LogLevel, absl::string_view) { ++lines; };
  ShortTempDir dir;
  const auto bus = MessageBus::Create(options);
  ASSERT_TRUE(bus.ok()) << bus.status();
  const auto bound = BindUnixEndpoint(dir.file("quiet"), **bus);
  ASSERT_TRUE(bound.ok()) << bound.status();
  for (size_t i = 0; i < kRefusals; ++i) {
    RawPeer peer(dir.file("quiet"));
    EXPECT_TRUE(peer.SayHello(HelloFrom("nobody", 0)).has_reject());
    EXPECT_TRUE(peer.Closed());
  }
  EXPECT_LT(lines, kRefusals / 2);
  EXPECT_GE(lines, 10u);
}

TEST_P(HostileHandshakeTest, SecondProcessOfANameIsRefusedWhileTheFirstLives) {
  ServedNode served(GetParam());
  RawPeer first = served.Greeted("twin", 1);
  RawPeer second(served.path());
  EXPECT_EQ(second.SayHello(HelloFrom("twin", 2)).reject().reason(),
            v1::Reject::NODE_NAME_TAKEN);
  EXPECT_TRUE(second.Closed());
  EXPECT_FALSE(first.ClosedWithin(0));
  served.ExpectServesOthers();
}

TEST_P(HostileHandshakeTest, OtherSchemaDigestIsTypedOnTheWireAndOnBothSides) {
  BusOptions options;
  options.schema_digest = Digest::Of("ours");
  ServedNode served(GetParam(), options);
  RawPeer raw = served.Greeted("raw");
  v1::Control control = SubscribeOf(1);
  control.mutable_subscribe()->set_service_digest(
      std::string(Digest::Of("theirs").bytes()));
  raw.SendControl(control);
  const auto refused = raw.ReadUntilControl(v1::Control::kSubscribeRefused);
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->control.subscribe_refused().service_digest(),
            Digest::Of("ours").bytes());
  EXPECT_EQ(refused->control.subscribe_refused().service(), "served");

  // A bus that subscribes gets this as a status, and so does the publisher.
  BusOptions other;
  other.node = "other";
  other.schema_digest = Digest::Of("theirs");
  other.log = [](LogLevel, absl::string_view) {};
  auto bus = *MessageBus::Create(other);
  ASSERT_TRUE(DialUnixEndpoint(served.path(), *bus).ok());
  auto notes = bus->Subscriber<Note>();
  const absl::Status told = notes->Receive(absl::Seconds(20)).status();
  EXPECT_EQ(told.code(), absl::StatusCode::kFailedPrecondition);
  for (const char* side : {"ours", "theirs"}) {
    EXPECT_THAT(std::string(told.message()),
                HasSubstr(Digest::Of(side).ToHex()));
  }
  EXPECT_TRUE(served.WasTold("service other of node other has"));
  // It gets nothing in the other direction, either.
  auto publisher = bus->Publisher<Note>();
  EXPECT_EQ(publisher->WaitForSubscribers(2, absl::Seconds(20)).code(),
            absl::StatusCode::kFailedPrecondition);
  (void)bus->Shutdown(absl::ZeroDuration());
  served.ExpectServesOthers();
}

TEST_P(HostileHandshakeTest, DisconnectAtEveryByteOfAHelloIsSurvived) {
  ServedNode served(GetParam());
  v1::Control control;
  *control.mutable_hello() = HelloFrom("leaver");
  const std::string bytes = ControlBytes(control);
  for (size_t sent = 0; sent < bytes.size(); ++sent) {
    RawPeer peer(served.path());
    ASSERT_TRUE(peer.Send(bytes.substr(0, sent)));
  }
  served.ExpectServesOthers();
}

TEST_P(HostileHandshakeTest, NodesThatHaveLeftDoNotUseUpTheLinks) {
  BusOptions options;
  options.limits.links = 4;
  ServedNode served(GetParam(), options);
  v1::Control goodbye;
  goodbye.mutable_goodbye();
  for (int i = 0; i < 12; ++i) {
    const std::string name = absl::StrCat("passer-by-", i);
    RawPeer peer = served.Greeted(name);
    peer.SendControl(goodbye);
    peer.Close();
    ASSERT_TRUE(
        served.EventWith(ConnectionEvent::State::kGone, name).has_value());
  }
  served.ExpectServesOthers();
}

TEST_P(HostileHandshakeTest, NodesThatHaveLeftAreForgotten) {
  ServedNode served(GetParam());
  v1::Control goodbye;
  goodbye.mutable_goodbye();
  RawPeer peer = served.Greeted("passer-by");
  peer.SendControl(goodbye);
  peer.Close();
  ASSERT_TRUE(served.EventWith(ConnectionEvent::State::kGone, "passer-by"));
  served.ExpectServesOthers();
  for (const LinkReport& link : served.bus().LinkReports()) {
    EXPECT_NE(link.peer, "passer-by");
  }
}

TEST_P(HostileHandshakeTest, SilentClientsDoNotKeepOthersOut) {
  BusOptions options;
  options.limits.links = 4;
  options.limits.handshake = absl::Minutes(1);
  ServedNode served(GetParam(), options);
  std::vector<std::unique_ptr<RawPeer>> silent;
  for (int i = 0; i < 8; ++i) {
    silent.push_back(std::make_unique<RawPeer>(served.path()));
    ASSERT_TRUE(silent.back()->connected());
  }
  served.ExpectServesOthers();
  // The oldest connection had to go.
  EXPECT_TRUE(silent.front()->Closed());
}

// The clients came in the same turn, and one of them has spoken.
TEST_P(HostileHandshakeTest, SilentClientDoesNotPushOutWhoHasSpoken) {
  BusOptions options;
  options.node = "polled";
  options.poll = PollMode::kCaller;
  options.limits.links = 1;
  const auto bus = *MessageBus::Create(options);
  const ShortTempDir dir;
  const auto endpoint = BindUnixEndpoint(dir.file("socket"), *bus);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  RawPeer spoken(dir.file("socket"));
  ASSERT_TRUE(spoken.SendControl([] {
    v1::Control control;
    *control.mutable_hello() = HelloFrom("spoken");
    return control;
  }()));
  RawPeer silent(dir.file("socket"));
  while (bus->LinkReports().empty() || !bus->LinkReports()[0].is_up) {
    ASSERT_TRUE(bus->Poll(absl::Seconds(10)).value()) << "nothing comes";
  }
  EXPECT_TRUE(spoken.ReadUntilControl(v1::Control::kHello).has_value());
}

// The kernel, except for the user who connects.
class UsersSys final : public Sys {
 public:
  int64_t GetSockOpt(int fd, int level, int name, void* value,
                     socklen_t* bytes) override {
    const int64_t got = Sys::GetSockOpt(fd, level, name, value, bytes);
    if (got >= 0 && level == SOL_SOCKET && name == SO_PEERCRED) {
      static_cast<ucred*>(value)->uid = uid.load();
    }
    return got;
  }

  std::atomic<uid_t> uid{kOne};
  static constexpr uid_t kOne = 50001, kOther = 50002;
};

// Each peer is told what the other peers need to go on where they left off, so
// that it could take their place.
TEST_P(HostileHandshakeTest, OtherUserDoesNotTakeALinkThatIsUp) {
  UsersSys sys;
  Environment environment{sys, Environment::Real().clock,
                          Environment::Real().waiter};
  BusOptions options;
  options.environment = &environment;
  options.allow_uids = {UsersSys::kOne, UsersSys::kOther};
  ServedNode served(GetParam(), options);
  RawPeer spy(served.path());
  const v1::Control told = spy.SayHello(HelloFrom("spy"));
  ASSERT_TRUE(told.has_hello());
  constexpr uint64_t kIncarnation = 7;
  RawPeer honest = served.Greeted("honest", kIncarnation);
  v1::Hello hello = HelloFrom("honest");
  hello.set_incarnation(kIncarnation);
  hello.set_resume_incarnation(told.hello().incarnation());
  hello.set_number(~uint64_t{0});
  sys.uid = UsersSys::kOther;
  for (int i = 0; i < 2; ++i) {
    RawPeer other(served.path());
    EXPECT_EQ(other.SayHello(hello).reject().reason(),
              v1::Reject::NODE_NAME_TAKEN);
  }
  EXPECT_FALSE(honest.ClosedWithin(0));
  // The same user may do so, as a peer whose connection broke.
  sys.uid = UsersSys::kOne;
  hello.set_number(2);
  RawPeer again(served.path());
  EXPECT_TRUE(again.SayHello(hello).has_hello());
  EXPECT_TRUE(honest.Closed());
  served.ExpectServesOthers();
}

// A Hello may have waited in a socket. To believe it would be to forget what
// the two nodes have exchanged since it was sent.
TEST_P(HostileHandshakeTest, HelloThatALaterOneHasOvertakenIsRefused) {
  ServedNode served(GetParam());
  v1::Hello hello = HelloFrom("peer", /*incarnation=*/7);
  hello.set_number(2);
  RawPeer first(served.path());
  const v1::Control told = first.SayHello(hello);
  ASSERT_TRUE(told.has_hello());
  first.Close();
  ASSERT_TRUE(served.EventWith(ConnectionEvent::State::kDisconnected, "peer")
                  .has_value());
  hello.set_resume_incarnation(told.hello().incarnation());
  hello.set_number(1);
  RawPeer stale(served.path());
  const v1::Control refused = stale.SayHello(hello);
  EXPECT_EQ(refused.reject().reason(), v1::Reject::DUPLICATE_LINK);
  EXPECT_THAT(refused.reject().message(), HasSubstr("a later Hello"));
  EXPECT_TRUE(stale.Closed());
  hello.set_number(3);
  RawPeer again(served.path());
  EXPECT_TRUE(again.SayHello(hello).has_hello());
  served.ExpectServesOthers();
}

TEST_P(HostileHandshakeTest, OneLinkBeyondTheLimitGetsTypedReject) {
  BusOptions options;
  options.limits.links = 3;
  ServedNode served(GetParam(), options);
  RawPeer a = served.Greeted("a"), b = served.Greeted("b"),
          c = served.Greeted("c");
  RawPeer d(served.path());
  EXPECT_EQ(d.SayHello(HelloFrom("d")).reject().reason(),
            v1::Reject::TOO_MANY_LINKS);
  EXPECT_TRUE(served.WasTold("this node has its 3 links"));
}

}  // namespace
}  // namespace mycelium::test
