// Nodes that spin on a Unix socket: the kernel does not watch the socket for
// them, and nothing is missed.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/conformance/two_buses.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

constexpr uint64_t kRounds = 30;
constexpr uint64_t kSmall = 40;
// More than a socket takes at once, so that its sender has to be told of room.
constexpr size_t kLargeBytes = 1'000'000;

class UnixWaitingTest : public ::testing::TestWithParam<WaitMode> {
 protected:
  static std::unique_ptr<MessageBus> MakeBus(const std::string& node,
                                             const BusOptions& options) {
    BusOptions named = options;
    named.node = node;
    auto bus = MessageBus::Create(named);
    EXPECT_TRUE(bus.ok()) << bus.status();
    return *std::move(bus);
  }

  const ShortTempDir dir_;
  const std::string path_ = dir_.file("bus.sock");
};

TEST_P(UnixWaitingTest, LargeAndSmallMessagesCrossAndRepliesWakeASleeper) {
  BusOptions options;
  options.wait = GetParam();
  auto a = MakeBus("a", options);
  options.poll = PollMode::kCaller;
  auto b = MakeBus("b", options);
  auto endpoint = BindUnixEndpoint(path_, *a);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  ASSERT_THAT(DialUnixEndpoint(path_, *b), IsOk());
  Inbox at_a;
  auto notes = a->Subscribe<Note>(at_a.Handler(), Delivered({}, "notes"));
  const MessageType type = RawMessageType("reply");
  auto replies = b->RawSubscriber(type);
  auto publisher = b->Publisher<Note>();
  auto replying = a->RawPublisher(type);
  const std::vector<std::byte> large(kLargeBytes, std::byte{7});
  ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
  ASSERT_THAT(replying->WaitForSubscribers(1, kLong), IsOk());
  uint64_t id = 0;
  for (uint64_t round = 1; round <= kRounds; ++round) {
    ASSERT_THAT(publisher->Publish(MakeNote(++id, kLargeBytes)), IsOk());
    for (uint64_t i = 0; i < kSmall; ++i) {
      ASSERT_THAT(publisher->Publish(MakeNote(++id)), IsOk());
    }
    ASSERT_THAT(b->Flush(kLong), IsOk());  // Which sleeps, whatever `wait` is.
    ASSERT_TRUE(at_a.WaitFor(id));
    ASSERT_THAT(replying->Publish(large), IsOk());
    auto received = replies->Receive(kLong);
    ASSERT_TRUE(received.ok()) << received.status();
    EXPECT_EQ(received->size(), kLargeBytes);
  }
  EXPECT_EQ(at_a.ids(), Counting(id));
  replies->Finish();
  ASSERT_THAT(a->Flush(kLong), IsOk());
  ExpectAllDelivered(*a, *b, id + kRounds);
}

INSTANTIATE_TEST_SUITE_P(WaitModes, UnixWaitingTest,
                         ::testing::Values(WaitMode::kSpin,
                                           WaitMode::kAdaptive),
                         [](const auto& mode) {
                           return mode.param == WaitMode::kSpin ? "spin"
                                                                : "adaptive";
                         });

}  // namespace
}  // namespace mycelium::test
