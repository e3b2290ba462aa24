#include "mycelium/routing/fan_out.h"

#include <poll.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/message/protobuf_type.h"
#include "mycelium/routing/local_frame.h"
#include "tests/support/driven_clock.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;

class NeverWaits final : public RoomWaiter {
 public:
  Outcome WaitFor(EventCount&, absl::FunctionRef<bool()>, TimeNs) override {
    return Outcome::kDeadline;
  }
};

// A publisher with one route, to a lane of a link.
class FanOutTest : public ::testing::Test {
 protected:
  FanOutTest() {
    Lane::Options lane_options;
    lane_options.name = "a -> b";
    lane_options.capacity_bytes = 64 << 10;
    lane_options.frame_bytes_max = 8 << 10;
    lane_ = *Lane::Create(Environment::Real(), lane_options, nullptr);
    FanOut::Options options;
    options.origin = &origin_;
    options.publish_timeout = absl::ZeroDuration();
    fan_out_ =
        std::make_unique<FanOut>(Environment::Real(), never_waits_, options);
    RouteToLane(*fan_out_);
  }

  void RouteToLane(FanOut& fan_out) {
    std::vector<PublishRoute> routes(1);
    routes[0].lane = lane_;
    routes[0].flows.push_back(flow_);
    fan_out.SetRoutes(std::move(routes), [] {});
  }

  absl::Status Publish() {
    const Note note;
    return fan_out_->Publish(
        Payload::Object(MessageTypeOf<Note>(), &note, nullptr));
  }

  const Origin origin_;
  NeverWaits never_waits_;
  std::shared_ptr<Lane> lane_;
  std::shared_ptr<FlowCounters> flow_ = std::make_shared<FlowCounters>();
  std::unique_ptr<FanOut> fan_out_;
};

TEST_F(FanOutTest, MessageForAnOpenLaneIsCountedThere) {
  EXPECT_TRUE(Publish().ok());
  EXPECT_EQ(flow_->Read().accepted, 1u);
  EXPECT_FALSE(lane_->empty());
}

TEST_F(FanOutTest, MessageIsCountedForEachSubscriptionBehindItsLane) {
  const auto other_flow = std::make_shared<FlowCounters>();
  std::vector<PublishRoute> routes(1);
  routes[0].lane = lane_;
  routes[0].flows = {flow_, other_flow};
  fan_out_->SetRoutes(routes, [] {});
  EXPECT_TRUE(Publish().ok());
  EXPECT_EQ(flow_->Read().accepted, 1u);
  EXPECT_EQ(other_flow->Read().accepted, 1u);
  EXPECT_EQ(lane_->published().frames, 1u);

  // Too large to be serialised beside the lane.
  Note large;
  large.set_text(std::string(5000, 'x'));
  EXPECT_TRUE(
      fan_out_->Publish(Payload::Object(MessageTypeOf<Note>(), &large, nullptr))
          .ok());
  EXPECT_EQ(flow_->Read().accepted, 2u);
  EXPECT_EQ(other_flow->Read().accepted, 2u);
  EXPECT_EQ(lane_->published().frames, 2u);

  RouteToLane(*fan_out_);  // The other subscription has ended.
  EXPECT_TRUE(Publish().ok());
  EXPECT_EQ(flow_->Read().accepted, 3u);
  EXPECT_EQ(other_flow->Read().accepted, 2u);
  EXPECT_EQ(lane_->published().frames, 3u);
}

TEST_F(FanOutTest, MessageIsUnmatchedWhenItsOnlyLaneHasClosed) {
  lane_->Close();
  EXPECT_TRUE(Publish().ok());
  EXPECT_EQ(flow_->Read().accepted, 0u);
  EXPECT_EQ(fan_out_->unmatched().accepted, 1u);
  EXPECT_EQ(fan_out_->unmatched().dropped_for(DropReason::kNoSubscriber), 1u);
}

TEST_F(FanOutTest, PublisherToOneServiceIsToldWhenItsOnlyLaneHasClosed) {
  fan_out_->SetWithoutRoutes(absl::UnavailableError("not connected"));
  lane_->Close();
  EXPECT_EQ(Publish().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(flow_->Read().accepted, 0u);
  EXPECT_EQ(fan_out_->unmatched().accepted, 0u);
}

bool IsReadable(int descriptor) {
  pollfd polled = {descriptor, POLLIN, 0};
  return poll(&polled, 1, 0) == 1;
}

TEST_F(FanOutTest, RoomIsToldOfTheLaneThatRefusedLast) {
  Lane::Options options;
  options.name = "a -> c";
  options.capacity_bytes = 64 << 10;
  options.frame_bytes_max = 8 << 10;
  const std::shared_ptr<Lane> other =
      *Lane::Create(Environment::Real(), options, nullptr);
  const MessageType type = RawMessageType("bytes");
  const std::vector<std::byte> bytes(7 << 10);
  const Payload large = Payload::Bytes(type, bytes);
  const Payload small =
      Payload::Bytes(type, absl::MakeConstSpan(bytes).first(64));
  while (fan_out_->Publish(large).ok()) {
  }
  std::vector<PublishRoute> routes(1);
  routes[0].lane = other;
  fan_out_->SetRoutes(routes, [] {});
  uint64_t sent = 0;
  while (fan_out_->Publish(small).ok()) ++sent;
  routes.emplace_back().lane = lane_;
  fan_out_->SetRoutes(routes, [] {});
  const auto descriptor = fan_out_->room_notice().Descriptor();
  ASSERT_TRUE(descriptor.ok());

  ASSERT_TRUE(other->Release(128));
  ASSERT_FALSE(fan_out_->Publish(large).ok()) << "no lane has that much";
  ASSERT_TRUE(fan_out_->Publish(small).ok());
  ASSERT_FALSE(fan_out_->Publish(small).ok()) << "the other lane has none";
  EXPECT_FALSE(IsReadable(*descriptor));
  bool called = false;
  fan_out_->room_notice().Call([&] { called = true; });
  ASSERT_TRUE(other->Release(256));
  EXPECT_TRUE(IsReadable(*descriptor));
  EXPECT_TRUE(called);
  EXPECT_TRUE(fan_out_->Publish(small).ok());
}

TEST_F(FanOutTest, SubscribersAreToldToWhoWasRefusedForWantOfThem) {
  fan_out_->SetWithoutRoutes(absl::UnavailableError("not connected"));
  fan_out_->SetRoutes({}, [] {});
  const auto descriptor = fan_out_->room_notice().Descriptor();
  ASSERT_TRUE(descriptor.ok());
  for (const bool closes : {false, true}) {
    ASSERT_EQ(Publish().code(), absl::StatusCode::kUnavailable);
    EXPECT_FALSE(IsReadable(*descriptor));
    int calls = 0;
    fan_out_->room_notice().Call([&] { ++calls; });
    fan_out_->SetRoutes({}, [] {});
    EXPECT_EQ(calls, 0);
    if (closes) {
      fan_out_->Close();
    } else {
      RouteToLane(*fan_out_);
    }
    EXPECT_TRUE(IsReadable(*descriptor));
    EXPECT_EQ(calls, 1);
    if (!closes) {
      EXPECT_TRUE(Publish().ok());
      fan_out_->SetRoutes({}, [] {});
    }
  }
}

// Lets time run out; the reader moves just after the last look.
class MovesTooLate final : public RoomWaiter {
 public:
  explicit MovesTooLate(std::function<void()> move) : move_(std::move(move)) {}
  Outcome WaitFor(EventCount&, absl::FunctionRef<bool()> ready,
                  TimeNs) override {
    ++waits;
    EXPECT_FALSE(ready());
    move_();
    return Outcome::kDeadline;
  }
  int waits = 0;

 private:
  const std::function<void()> move_;
};

TEST_F(FanOutTest, LaneThatMovedAfterTheLastLookHasNotStalled) {
  uint64_t handled = 0;
  MovesTooLate waiter([&] {
    const Lane::Run run = lane_->CommittedFrom(handled);
    FrameHeader header;
    std::memcpy(&header, run.bytes.data(), sizeof header);
    handled = run.position + AlignedFrameBytes(header.frame_bytes);
    ASSERT_TRUE(lane_->Release(handled));
  });
  FanOut::Options options;
  options.origin = &origin_;
  FanOut fan_out(Environment::Real(), waiter, options);
  RouteToLane(fan_out);
  const MessageType type = RawMessageType("bytes");
  const std::vector<std::byte> large(7 << 10);
  absl::Status sent;
  while (sent.ok()) sent = fan_out.Publish(Payload::Bytes(type, large));
  EXPECT_EQ(sent.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(waiter.waits, 1);
  EXPECT_FALSE(lane_->stalled());
}

// Time passes as a thread waits for it; `on_wait` is called each time.
class LetsTimePass final : public RoomWaiter {
 public:
  explicit LetsTimePass(test::DrivenClock& clock) : clock_(clock) {}
  Outcome WaitFor(EventCount&, absl::FunctionRef<bool()> ready,
                  TimeNs deadline) override {
    clock_.now = std::max(clock_.now, deadline);
    on_wait();
    return ready() ? Outcome::kReady : Outcome::kDeadline;
  }
  std::function<void()> on_wait = [] {};

 private:
  test::DrivenClock& clock_;
};

class TwoLanesTest : public FanOutTest {
 protected:
  TwoLanesTest() {
    Lane::Options options;
    options.name = "a -> c";
    options.capacity_bytes = 64 << 10;
    options.frame_bytes_max = 8 << 10;
    other_ = *Lane::Create(Environment::Real(), options, nullptr);
    FanOut::Options publishing;
    publishing.origin = &origin_;
    patient_ = std::make_unique<FanOut>(environment_, waiter_, publishing);
  }

  // Fills both lanes. `first` and `second` are how long they are waited for.
  void Fill(absl::Duration first, absl::Duration second) {
    std::vector<PublishRoute> routes(2);
    routes[0].lane = lane_;
    routes[0].publish_timeout = first;
    routes[1].lane = other_;
    routes[1].publish_timeout = second;
    for (PublishRoute& route : routes) {
      FillLane(route.lane);
      route.flows.push_back(flow_);
    }
    patient_->SetRoutes(std::move(routes), [] {});
  }
  void FillLane(const std::shared_ptr<Lane>& lane) {
    std::vector<PublishRoute> routes(1);
    routes[0].lane = lane;
    routes[0].flows.push_back(flow_);
    fan_out_->SetRoutes(std::move(routes), [] {});
    while (fan_out_->TryPublish(Message()).ok()) continue;
  }
  Payload Message() { return Payload::Bytes(type_, bytes_); }
  static void Empty(Lane& lane) { ASSERT_TRUE(lane.Release(lane.committed())); }

  const MessageType type_ = RawMessageType("bytes");
  const std::vector<std::byte> bytes_{7 << 10};
  test::DrivenClock clock_;
  Environment environment_{Sys::Real(), clock_, Environment::Real().waiter};
  LetsTimePass waiter_{clock_};
  std::shared_ptr<Lane> other_;
  std::unique_ptr<FanOut> patient_;
};

TEST_F(TwoLanesTest, EachIsWaitedForAsLongAsItsRouteSays) {
  Fill(absl::Hours(1), absl::Milliseconds(20));
  int waits = 0;
  waiter_.on_wait = [&] {
    if (++waits == 20) Empty(*lane_);  // After most of a second.
    if (waits == 21) Empty(*other_);
  };
  EXPECT_TRUE(patient_->Publish(Message()).ok());
  EXPECT_EQ(waits, 21);
  EXPECT_FALSE(other_->stalled());
  // A wait in vain for one lane is no stall of the other.
  Fill(absl::Milliseconds(20), absl::Hours(1));
  waiter_.on_wait = [] {};
  EXPECT_EQ(patient_->Publish(Message()).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(lane_->stalled());
  EXPECT_FALSE(other_->stalled());
  // A publisher that would wait as long again does not.
  waiter_.on_wait = [] { ADD_FAILURE(); };
  EXPECT_EQ(patient_->Publish(Message()).code(),
            absl::StatusCode::kResourceExhausted);
}

// As if a route, or a publisher with a timeout of its own, is in a hurry.
TEST_F(TwoLanesTest, WhoWaitsLongerDoesSoThoughTheLaneHasStalledForOthers) {
  for (const absl::Duration hurry :
       {absl::ZeroDuration(), absl::Milliseconds(20)}) {
    Fill(hurry, hurry);
    waiter_.on_wait = [] {};
    EXPECT_EQ(patient_->Publish(Message()).code(),
              absl::StatusCode::kResourceExhausted);
    EXPECT_TRUE(lane_->stalled());
    Fill(absl::Milliseconds(50), absl::Milliseconds(50));
    int waits = 0;
    waiter_.on_wait = [&] {
      if (++waits == 2) {
        Empty(*lane_);
        Empty(*other_);
      }
    };
    EXPECT_TRUE(patient_->Publish(Message()).ok()) << hurry;
    EXPECT_GE(waits, 2);
  }
}

TEST_F(TwoLanesTest, AllTogetherAreWaitedForAsLongAsTheLongest) {
  Fill(absl::Milliseconds(20), absl::Milliseconds(100));
  // Whenever one lane has room, the other is full.
  const TimeNs began = clock_.now;
  int waits = 0;
  waiter_.on_wait = [&] {
    const bool is_odd = ++waits % 2 == 1;
    Empty(is_odd ? *lane_ : *other_);
    FillLane(is_odd ? other_ : lane_);
  };
  const absl::Status sent = patient_->Publish(Message());
  EXPECT_EQ(sent.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GE(clock_.now - began, 100'000'000);
  EXPECT_LE(clock_.now - began, 120'000'000);
  EXPECT_FALSE(lane_->stalled());
  EXPECT_FALSE(other_->stalled());
}

// As when one of the subscriptions that share a lane ends, and another is slow.
TEST_F(FanOutTest, NobodyWaitsForRoomInALaneThatHasNoRouteAnyMore) {
  const auto descriptor = fan_out_->room_notice().Descriptor();
  ASSERT_TRUE(descriptor.ok());
  for (const bool closes : {false, true}) {
    while (Publish().ok()) continue;
    int calls = 0;
    fan_out_->room_notice().Call([&] { ++calls; });
    RouteToLane(*fan_out_);
    EXPECT_FALSE(IsReadable(*descriptor));
    EXPECT_EQ(calls, 0);
    if (closes) {
      fan_out_->Close();
    } else {
      fan_out_->SetRoutes({}, [] {});
    }
    EXPECT_TRUE(IsReadable(*descriptor));
    EXPECT_EQ(calls, 1);
    ASSERT_TRUE(lane_->Release(lane_->committed()));
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(Publish().ok(), !closes);
    RouteToLane(*fan_out_);
  }
}

// Waits until the route is taken away, which wakes it or comes too late.
class LosesRoute final : public RoomWaiter {
 public:
  Outcome WaitFor(EventCount& event, absl::FunctionRef<bool()> ready,
                  TimeNs) override {
    EXPECT_FALSE(ready());
    EventCount::Sleeper sleeper(event);
    fan_out->SetRoutes({}, [] {});
    EXPECT_TRUE(ready());
    sleeper.Until(Environment::Real().waiter, kNever);
    return is_too_late ? Outcome::kDeadline : Outcome::kReady;
  }
  FanOut* fan_out = nullptr;
  bool is_too_late = false;
};

TEST_F(FanOutTest, PublisherThatWaitsGoesOnWhenTheRouteIsTakenAway) {
  LosesRoute waiter;
  FanOut::Options options;
  options.origin = &origin_;
  FanOut fan_out(Environment::Real(), waiter, options);
  waiter.fan_out = &fan_out;
  const Note note;
  const Payload payload =
      Payload::Object(MessageTypeOf<Note>(), &note, nullptr);
  while (fan_out_->TryPublish(payload).ok()) continue;
  for (const bool is_too_late : {false, true}) {
    waiter.is_too_late = is_too_late;
    RouteToLane(fan_out);
    EXPECT_EQ(fan_out.Publish(payload).ok(), !is_too_late);
    bool is_called = false;
    fan_out.room_notice().Call([&] { is_called = true; });
    EXPECT_TRUE(is_called);
  }
  EXPECT_EQ(fan_out.unmatched().accepted, 1u);
}

TEST_F(FanOutTest, TryPublishNeitherWaitsNorCallsTheLaneStalled) {
  MovesTooLate waiter([] {});
  FanOut::Options options;
  options.origin = &origin_;
  options.publish_timeout = absl::Hours(1);
  FanOut fan_out(Environment::Real(), waiter, options);
  RouteToLane(fan_out);
  const MessageType type = RawMessageType("bytes");
  const std::vector<std::byte> large(7 << 10);
  uint64_t accepted = 0;
  absl::Status sent;
  while (sent.ok()) {
    sent = fan_out.TryPublish(Payload::Bytes(type, large));
    if (sent.ok()) ++accepted;
  }
  EXPECT_EQ(sent.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(waiter.waits, 0);
  EXPECT_FALSE(lane_->stalled());
  EXPECT_EQ(flow_->Read().accepted, accepted);
  EXPECT_GT(accepted, 0u);
}

TEST_F(FanOutTest, RoomIsAwaitedFromARefusalUntilThereIsRoom) {
  EXPECT_FALSE(fan_out_->room_notice().AwaitsRoom());
  while (Publish().ok()) EXPECT_FALSE(fan_out_->room_notice().AwaitsRoom());
  EXPECT_TRUE(fan_out_->room_notice().AwaitsRoom());
  ASSERT_TRUE(lane_->Release(lane_->committed()));
  EXPECT_FALSE(fan_out_->room_notice().AwaitsRoom());
  EXPECT_TRUE(Publish().ok());
}

int serialisations = 0;

// How many lanes there are, and how large a message is.
class FanOutToLanesTest
    : public testing::TestWithParam<std::tuple<size_t, size_t>> {};

TEST_P(FanOutToLanesTest, TypedMessageIsSerialisedOnceForAllLanes) {
  const auto [lane_count, message_bytes] = GetParam();
  using Bytes = std::vector<std::byte>;
  MessageType type;
  type.name = "counted";
  type.byte_size = [](const void* message) {
    return static_cast<const Bytes*>(message)->size();
  };
  type.serialize = [](const void* message, std::byte* out) {
    ++serialisations;
    const auto& bytes = *static_cast<const Bytes*>(message);
    if (!bytes.empty()) std::memcpy(out, bytes.data(), bytes.size());
  };
  serialisations = 0;
  const Origin origin;
  NeverWaits never_waits;
  FanOut::Options options;
  options.origin = &origin;
  options.publisher_id = 7;
  FanOut fan_out(Environment::Real(), never_waits, options);
  std::vector<PublishRoute> routes(lane_count);
  std::vector<std::shared_ptr<Lane>> lanes;
  std::vector<std::shared_ptr<FlowCounters>> flows;
  for (PublishRoute& route : routes) {
    Lane::Options lane_options;
    lane_options.capacity_bytes = 16384;
    lane_options.frame_bytes_max = 8192;
    lanes.push_back(*Lane::Create(Environment::Real(), lane_options, nullptr));
    route.lane = lanes.back();
    flows.push_back(std::make_shared<FlowCounters>());
    route.flows.push_back(flows.back());
  }
  fan_out.SetRoutes(std::move(routes), [] {});
  Bytes message(message_bytes);
  for (size_t i = 0; i < message.size(); ++i) message[i] = std::byte(i * 7);
  EXPECT_TRUE(fan_out.Publish(Payload::Object(type, &message, nullptr)).ok());
  EXPECT_EQ(serialisations, 1);
  for (size_t i = 0; i < lanes.size(); ++i) {
    const Lane::Run run = lanes[i]->CommittedFrom(0);
    FrameView frame;
    ASSERT_EQ(DecodeFrame(run.bytes, 8192, kFrameFlagsOnWire, &frame),
              FrameVerdict::kOk);
    EXPECT_EQ(frame.payload, absl::MakeConstSpan(message));
    EXPECT_EQ(frame.header.lane_sequence, 1u);
    EXPECT_EQ(frame.header.publisher_sequence, 1u);
    EXPECT_EQ(frame.header.publisher_id, 7u);
    EXPECT_EQ(frame.header.digest_prefix, type.digest.prefix());
    EXPECT_EQ(flows[i]->Read().accepted, 1u);
  }
}

// A message of up to 1 024 bytes is serialised beside the lanes, a larger one
// into a lane.
INSTANTIATE_TEST_SUITE_P(
    Sizes, FanOutToLanesTest,
    testing::Combine(testing::Values(1, 8),
                     testing::Values(0, 1, 8, 24, 25, 64, 1024, 1025, 5000)),
    [](const auto& test) {
      return std::to_string(std::get<0>(test.param)) + "LanesOf" +
             std::to_string(std::get<1>(test.param)) + "Bytes";
    });

class FanOutToQueuesTest : public testing::TestWithParam<size_t> {};

TEST_P(FanOutToQueuesTest, TypedMessageIsSerialisedOnceForAllQueues) {
  MessageType type;
  type.name = "counted";
  type.byte_size = [](const void*) { return size_t{8}; };
  type.serialize = [](const void* message, std::byte* out) {
    ++serialisations;
    std::memcpy(out, message, 8);
  };
  serialisations = 0;
  const Origin origin;
  NeverWaits never_waits;
  FanOut::Options options;
  options.origin = &origin;
  FanOut fan_out(Environment::Real(), never_waits, options);
  std::vector<PublishRoute> routes(GetParam());
  std::vector<std::shared_ptr<Subscription>> queued;
  for (PublishRoute& route : routes) {
    Subscription::Options subscriber;
    subscriber.type = type;
    subscriber.mode = DeliveryMode::kQueued;
    subscriber.lane_bytes = 4096;
    subscriber.frame_bytes_max = 1024;
    queued.push_back(*Subscription::Create(Environment::Real(), subscriber,
                                           /*handler=*/nullptr,
                                           [](LogLevel, absl::string_view) {}));
    route.subscription = queued.back();
    route.lane = std::shared_ptr<Lane>(queued.back(), &queued.back()->lane());
    route.flows.push_back(queued.back()->FlowFrom(origin));
  }
  fan_out.SetRoutes(std::move(routes), [] {});
  const uint64_t message = 0x0123456789abcdef;
  EXPECT_TRUE(fan_out.Publish(Payload::Object(type, &message, nullptr)).ok());
  EXPECT_EQ(serialisations, 1);
  for (const auto& subscription : queued) {
    const FrameView* const frame = subscription->queue().Take();
    ASSERT_NE(frame, nullptr);
    ASSERT_EQ(frame->payload.size(), 8u);
    EXPECT_EQ(frame->header.digest_prefix, OriginWord(origin));
    EXPECT_EQ(std::memcmp(frame->payload.data(), &message, 8), 0);
    subscription->CountPulled(origin, /*decodable=*/true);
    subscription->queue().Finish();
    EXPECT_EQ(subscription->FlowFrom(origin)->Read().accepted, 1u);
    EXPECT_EQ(subscription->FlowFrom(origin)->Read().delivered, 1u);
  }
  // A pointer that the subscribers may keep needs no serialising at all.
  const auto shared = std::make_shared<const uint64_t>(message);
  const std::shared_ptr<const void> pointer = shared;
  EXPECT_TRUE(
      fan_out.Publish(Payload::Object(type, pointer.get(), &pointer)).ok());
  EXPECT_EQ(serialisations, 1);
  for (const auto& subscription : queued) subscription->Close();
  EXPECT_EQ(pointer.use_count(), 2);
}
INSTANTIATE_TEST_SUITE_P(Queues, FanOutToQueuesTest, testing::Values(1, 8));

}  // namespace
}  // namespace mycelium
