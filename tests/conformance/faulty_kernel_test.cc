// A bus whose system calls fail now and then: nothing is lost, nothing comes
// twice, and the bus goes on.

#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/conformance/raw_peer.h"
#include "tests/conformance/served_node.h"
#include "tests/support/faulty_sys.h"

namespace mycelium::test {
namespace {

class FaultyKernelTest : public ::testing::TestWithParam<std::string> {
 protected:
  BusOptions Faulty() {
    BusOptions options;
    options.environment = &environment_;
    return options;
  }

  FaultySys sys_;
  Environment environment_{sys_, Environment::Real().clock,
                           Environment::Real().waiter};
};

INSTANTIATE_TEST_SUITE_P(AllTransports, FaultyKernelTest,
                         ::testing::Values("unix", "shm"),
                         [](const auto& info) { return info.param; });

TEST_P(FaultyKernelTest, NodeOutOfDescriptorsAcceptsAgainLater) {
  ServedNode served(GetParam(), Faulty());
  sys_.Fail("accept", {-EMFILE, -ENFILE, -EMFILE});
  RawPeer waiting(served.path());
  served.ExpectServesOthers();
  EXPECT_EQ(sys_.Left("accept"), 0u);
  EXPECT_TRUE(served.WasTold("Too many open files"));
  EXPECT_TRUE(waiting.SayHello(HelloFrom("waiting")).has_hello());
}

TEST_P(FaultyKernelTest, ShortAndInterruptedCallsChangeNothing) {
  ServedNode served(GetParam(), Faulty());
  std::vector<size_t> shorts;
  for (size_t i = 0; i < 200; ++i) shorts.push_back(1 + i % 50);
  sys_.SendAtMost(shorts);
  sys_.Fail("sendmsg", {-EINTR, -EAGAIN, -EINTR, -EINTR, -EAGAIN});
  // Where descriptors may arrive, another system call receives.
  const std::string receive = GetParam() == "shm" ? "recvmsg" : "recv";
  sys_.Fail(receive, {-EINTR, -EAGAIN, -EINTR});
  served.ExpectServesOthers();
  EXPECT_EQ(sys_.Left("sendmsg") + sys_.Left(receive), 0u);
}

TEST_P(FaultyKernelTest, HelloThatASocketDoesNotTakeAtOnceIsSentWhole) {
  ServedNode served(GetParam(), Faulty());
  for (const size_t taken : {0, 5}) {
    const uint64_t sends = sys_.counts()["sendmsg"];
    if (taken > 0) sys_.SendAtMost({taken});
    sys_.FailNth("sendmsg", sends + (taken > 0 ? 2 : 1), -EAGAIN);
    RawPeer peer(served.path());
    const std::string name = absl::StrCat("subscriber", taken);
    EXPECT_TRUE(peer.SayHello(HelloFrom(name)).has_hello()) << taken;
    EXPECT_TRUE(sys_.fired());
    peer.SendControl(SubscribeOf(1));
    EXPECT_TRUE(peer.ReadUntilControl(v1::Control::kMatched).has_value());
  }
  served.ExpectServesOthers();
}

TEST_P(FaultyKernelTest, RefusedSendCostsAConnectionAndNoMessage) {
  for (const int64_t error : {-ENOBUFS, -ENOMEM, -ENOSPC}) {
    ServedNode served(GetParam(), Faulty());
    RawPeer peer(served.path());
    const v1::Control answer = peer.SayHello(HelloFrom("subscriber"));
    ASSERT_TRUE(answer.has_hello());
    peer.SendControl(SubscribeOf(1));
    ASSERT_TRUE(peer.ReadUntilControl(v1::Control::kMatched).has_value());
    sys_.Fail("sendmsg", {error});
    ASSERT_TRUE(served.publisher().Publish(MakeNote(1)).ok());
    EXPECT_TRUE(peer.Closed());
    EXPECT_TRUE(
        served.EventWith(ConnectionEvent::State::kDisconnected, "subscriber")
            .has_value());
    // The same process is back, and is sent what it has not got.
    RawPeer again(served.path());
    v1::Hello hello = HelloFrom("subscriber");
    hello.set_resume_incarnation(answer.hello().incarnation());
    ASSERT_TRUE(again.SayHello(hello).has_hello());
    again.SendControl(SubscribeOf(1));
    const auto data = again.ReadUntil([](const RawPeer::Record& record) {
      return record.header.kind == static_cast<uint8_t>(RecordKind::kData);
    });
    ASSERT_TRUE(data.has_value());
    EXPECT_EQ(data->header.position, 0u);
    EXPECT_EQ(data->body.size(), BytesOf(NoteFrame(1)).size());
    served.ExpectServesOthers();
  }
}

}  // namespace
}  // namespace mycelium::test
