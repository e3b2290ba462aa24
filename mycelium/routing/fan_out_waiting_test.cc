// How a publisher that finds a ring full leaves it to its reader for a moment.
#include <atomic>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/routing/fan_out.h"
#include "mycelium/routing/subscription.h"
#include "mycelium/transport/lane/fake_shared_memory.h"

namespace mycelium {
namespace {

constexpr size_t kCapacity = 64 << 10;
constexpr absl::Duration kTimeout = absl::Milliseconds(1);

// Lets the test act while the publisher rests, and waits for nothing then.
class Resting final : public RoomWaiter {
 public:
  explicit Resting(const LanePositions& positions) : positions_(positions) {}

  Outcome WaitFor(EventCount&, absl::FunctionRef<bool()> ready,
                  TimeNs) override {
    if (ready()) return Outcome::kReady;
    asked_in_wait = IsReaderAsked();
    return Outcome::kDeadline;
  }
  void Rest(absl::FunctionRef<bool()> is_over, TimeNs deadline) override {
    ++rests;
    left = deadline - Environment::Real().clock.NowNs();
    on_rest(is_over);
    asked_in_rest |= IsReaderAsked();
  }

  std::function<void(absl::FunctionRef<bool()>)> on_rest =
      [](absl::FunctionRef<bool()>) {};
  int rests = 0;
  TimeNs left = 0;  // Until the deadline of the last rest.
  // Whether the reader was asked to tell of room.
  bool asked_in_rest = false;
  bool asked_in_wait = false;

 private:
  bool IsReaderAsked() const {
    return positions_.wake_at.load(std::memory_order_relaxed) !=
           LanePositions::kNobodyWaits;
  }

  const LanePositions& positions_;
};

class FanOutWaitingTest : public ::testing::Test {
 protected:
  FanOutWaitingTest() {
    Lane::Options lane_options;
    lane_options.capacity_bytes = kCapacity;
    lane_options.frame_bytes_max = kCapacity / 2;
    lane_options.shared = memory_;
    lane_options.control_count = &control_count_;
    lane_ = *Lane::Create(Environment::Real(), lane_options, nullptr);
    lane_->SetMapped(true);
    FanOut::Options options;
    options.origin = &origin_;
    options.publish_timeout = kTimeout;
    fan_out_ = std::make_unique<FanOut>(Environment::Real(), waiter_, options);
    std::vector<PublishRoute> routes(1);
    routes[0].lane = lane_;
    routes[0].flows.push_back(flow_);
    fan_out_->SetRoutes(std::move(routes), [] {});
  }

  void Fill() {
    while (fan_out_->TryPublish(Message(64)).ok()) continue;
    EXPECT_EQ(waiter_.rests, 0);
  }
  Payload Message(size_t bytes) {
    payload_.resize(bytes);
    return Payload::Bytes(type_, payload_);
  }
  // Has the reader handle the next frame of Fill().
  void HandleOne() {
    handled_ += AlignedFrameBytes(sizeof(FrameHeader) + 64);
    ASSERT_LE(handled_, lane_->committed());
    lane_->ring_positions().released.store(handled_);
  }

  const Origin origin_;
  const MessageType type_ = RawMessageType("bytes");
  std::vector<std::byte> payload_;
  const std::shared_ptr<test::FakeSharedMemory> memory_ =
      std::make_shared<test::FakeSharedMemory>(kCapacity);
  Resting waiter_{memory_->positions()};
  const std::atomic<uint32_t> control_count_{0};
  std::shared_ptr<Lane> lane_;
  std::shared_ptr<FlowCounters> flow_ = std::make_shared<FlowCounters>();
  std::unique_ptr<FanOut> fan_out_;
  uint64_t handled_ = 0;
};

TEST_F(FanOutWaitingTest, ReaderGetsAnEighthOfTheRingAhead) {
  Fill();
  waiter_.on_rest = [this](absl::FunctionRef<bool()> is_over) {
    while (!is_over() && !HasFailure()) HandleOne();
  };
  EXPECT_TRUE(fan_out_->Publish(Message(64)).ok());
  EXPECT_EQ(waiter_.rests, 1);
  EXPECT_GE(handled_, kCapacity / 8);
  EXPECT_LT(handled_, kCapacity / 8 + 1024);
  EXPECT_LE(waiter_.left, absl::ToInt64Nanoseconds(kTimeout));
  EXPECT_FALSE(waiter_.asked_in_rest);  // It would ring for each message.
}

TEST_F(FanOutWaitingTest, ReaderIsAskedToTellOfRoomWhenTheRestIsOver) {
  Fill();
  EXPECT_FALSE(fan_out_->Publish(Message(64)).ok());
  EXPECT_EQ(waiter_.rests, 1);
  EXPECT_FALSE(waiter_.asked_in_rest);
  EXPECT_TRUE(waiter_.asked_in_wait);
}

TEST_F(FanOutWaitingTest, LargeMessageNeedsNoMoreThanItsRoom) {
  Fill();
  waiter_.on_rest = [this](absl::FunctionRef<bool()> is_over) {
    while (!is_over() && !HasFailure()) HandleOne();
  };
  EXPECT_TRUE(fan_out_->Publish(Message(kCapacity / 4)).ok());
  EXPECT_GE(handled_, kCapacity / 4);
  EXPECT_LT(handled_, kCapacity / 4 + 1024);
}

// The rest is not a wait: a reader that does not get ahead soon holds up no
// publisher.
TEST_F(FanOutWaitingTest, RoomForOneIsEnoughAfterTheRest) {
  Fill();
  waiter_.on_rest = [this](absl::FunctionRef<bool()> is_over) {
    HandleOne();
    HandleOne();
    EXPECT_FALSE(is_over());
  };
  EXPECT_TRUE(fan_out_->Publish(Message(64)).ok());
  EXPECT_EQ(waiter_.rests, 1);
}

TEST_F(FanOutWaitingTest, RestIsOverWhenTheRouteIsTakenAway) {
  Fill();
  waiter_.on_rest = [this](absl::FunctionRef<bool()> is_over) {
    EXPECT_FALSE(is_over());
    fan_out_->SetRoutes({}, [] {});
    EXPECT_TRUE(is_over());
  };
  EXPECT_TRUE(fan_out_->Publish(Message(64)).ok());
  EXPECT_EQ(waiter_.rests, 1);
  EXPECT_EQ(fan_out_->unmatched().accepted, 1u);
}

TEST_F(FanOutWaitingTest, RestIsOverWhenTheReaderIsOutOfReach) {
  Fill();
  waiter_.on_rest = [this](absl::FunctionRef<bool()> is_over) {
    EXPECT_FALSE(is_over());
    lane_->SetReaderAway(true);
    EXPECT_TRUE(is_over());
  };
  EXPECT_EQ(fan_out_->Publish(Message(64)).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(waiter_.rests, 1);
}

TEST_F(FanOutWaitingTest, RestIsOverWhenTheLaneIsClosed) {
  Fill();
  waiter_.on_rest = [this](absl::FunctionRef<bool()> is_over) {
    EXPECT_FALSE(is_over());
    lane_->Close();
    EXPECT_TRUE(is_over());
  };
  EXPECT_TRUE(fan_out_->Publish(Message(64)).ok());
  EXPECT_EQ(waiter_.rests, 1);
}

TEST_F(FanOutWaitingTest, ReaderInTheSameProcessGetsAheadToo) {
  Subscription::Options subscriber;
  subscriber.mode = DeliveryMode::kQueued;
  subscriber.lane_bytes = kCapacity;
  subscriber.frame_bytes_max = kCapacity / 2;
  const std::shared_ptr<Subscription> subscription = *Subscription::Create(
      Environment::Real(), subscriber,
      /*handler=*/nullptr, [](LogLevel, absl::string_view) {});
  std::vector<PublishRoute> routes(1);
  routes[0].subscription = subscription;
  routes[0].lane = std::shared_ptr<Lane>(subscription, &subscription->lane());
  routes[0].flows.push_back(subscription->FlowFrom(origin_));
  fan_out_->SetRoutes(std::move(routes), [] {});
  Fill();
  uint64_t taken = 0;
  waiter_.on_rest = [&](absl::FunctionRef<bool()> is_over) {
    while (!is_over()) {
      ASSERT_NE(subscription->queue().Take(), nullptr);
      subscription->CountPulled(origin_, /*decodable=*/true);
      subscription->queue().Finish();
      ++taken;
    }
  };
  EXPECT_TRUE(fan_out_->Publish(Message(64)).ok());
  EXPECT_EQ(waiter_.rests, 1);
  EXPECT_GE(taken * AlignedFrameBytes(sizeof(FrameHeader) + 64), kCapacity / 8);
  subscription->Close();
}

// The lane's room comes with acknowledgements, many messages at a time.
TEST_F(FanOutWaitingTest, NobodyRestsForALaneThatIsSent) {
  lane_->SetMapped(false);
  Fill();
  EXPECT_FALSE(fan_out_->Publish(Message(64)).ok());
  EXPECT_EQ(waiter_.rests, 0);
}

}  // namespace
}  // namespace mycelium
