// What a link does with RoomAwaited, of which more comes as long as somebody
// waits.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/transport/framed_link_fixture.h"

namespace mycelium {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FramedLinkAwaitedTest : public FramedLinkTest {
 protected:
  void PeerAwaits(uint32_t lane, uint64_t handled) {
    v1::Control control;
    control.mutable_room_awaited()->set_lane(lane);
    control.mutable_room_awaited()->set_handled(handled);
    const std::string body = control.SerializeAsString();
    wire_.Deliver(MakeRecordHeader(RecordKind::kControl, body.size()), body);
  }

  // What was sent of control messages since the last call.
  std::vector<v1::Control::BodyCase> SentControls() {
    std::vector<v1::Control::BodyCase> sent;
    for (const Wire::Record& record : wire_.TakeRecords()) {
      v1::Control control;
      if (record.kind == RecordKind::kControl &&
          control.ParseFromString(record.body)) {
        sent.push_back(control.body_case());
      }
    }
    return sent;
  }
};

TEST_F(FramedLinkAwaitedTest, IsToldOfWhereNothingWasHandledSince) {
  PeerOpensLane();
  PeerPublishes(100);
  handler_.controls.clear();
  PeerAwaits(/*lane=*/9, /*handled=*/0);
  PeerAwaits(/*lane=*/9, /*handled=*/256);
  PeerAwaits(/*lane=*/8, /*handled=*/128);
  EXPECT_THAT(handler_.controls, IsEmpty());
  PeerAwaits(/*lane=*/9, /*handled=*/128);
  EXPECT_THAT(handler_.controls, ElementsAre(v1::Control::kRoomAwaited));
}

TEST_F(FramedLinkAwaitedTest, IsNotHeapedUpForAPeerThatDoesNotRead) {
  v1::Control awaited;
  awaited.mutable_room_awaited()->add_steps()->set_queue(
      std::string(1000, 'x'));
  wire_.takes = 0;
  for (int i = 0; i < 1000; ++i) link_->SendControl(awaited);
  v1::Control other;
  other.mutable_subscribers_known();
  link_->SendControl(other);
  wire_.takes = ~size_t{0};
  wire_.handler->OnWritable();
  const auto sent = SentControls();
  const auto count =
      std::count(sent.begin(), sent.end(), v1::Control::kRoomAwaited);
  EXPECT_GT(count, 10);
  EXPECT_LT(count, 100);
  EXPECT_EQ(
      std::count(sent.begin(), sent.end(), v1::Control::kSubscribersKnown), 1);
}

}  // namespace
}  // namespace mycelium
