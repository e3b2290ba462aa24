// A link whose node leaves: what comes after its Goodbye, until the peer says
// one too, is the peer's to count if it never does.
#include <cstring>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/transport/framed_link_fixture.h"

namespace mycelium {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

class FramedLinkPartingTest : public FramedLinkTest {
 protected:
  FramedLinkPartingTest() { PeerOpensLane(); }

  void Run() { RunAt(clock_.now); }

  // What was acknowledged last before each Goodbye that was sent since the last
  // call.
  std::vector<uint64_t> ReceivedByEachGoodbye() {
    std::vector<uint64_t> received;
    AckEntry last = {};
    for (const Wire::Record& record : wire_.TakeRecords()) {
      if (record.kind == RecordKind::kAck) {
        std::memcpy(&last, record.body.data(), sizeof last);
      }
      v1::Control control;
      if (record.kind == RecordKind::kControl &&
          control.ParseFromString(record.body) && control.has_goodbye()) {
        received.push_back(last.received);
      }
    }
    return received;
  }
};

TEST_F(FramedLinkPartingTest, WhatComesBetweenIsTakenWhenThePeerAnswers) {
  PeerPublishes(100);
  link_->Part();
  EXPECT_THAT(ReceivedByEachGoodbye(), ElementsAre(128));
  PeerPublishes(100);
  Run();
  EXPECT_THAT(handler_.handled, ElementsAre(1));
  PeerSaysGoodbye();
  Run();
  EXPECT_THAT(handler_.handled, ElementsAre(1, 2));
  EXPECT_THAT(ReceivedByEachGoodbye(), ElementsAre(256));
}

TEST_F(FramedLinkPartingTest, WhatComesBetweenIsNotTakenIfThePeerNeverAnswers) {
  handler_.goes_down = true;
  link_->Part();
  PeerPublishes(100);
  Run();
  wire_.handler->OnClosed(absl::UnavailableError("the test has cut it"));
  EXPECT_THAT(handler_.told, SizeIs(1)) << "nothing is waited for";
  EXPECT_FALSE(link_->is_draining());
  EXPECT_THAT(handler_.handled, ElementsAre());
}

TEST_F(FramedLinkPartingTest, WhatComesBetweenHoldsUpNoControlMessage) {
  link_->Part();
  PeerPublishes(100);
  const uint64_t end = one_->committed();
  Acknowledge(*one_, end);
  EXPECT_TRUE(one_->empty());
}

// Who answers has heard it, so all that comes was published before.
TEST_F(FramedLinkPartingTest, WhoAnswersTakesAll) {
  PeerPublishes(100);
  PeerSaysGoodbye();
  PeerPublishes(100);
  Run();
  EXPECT_THAT(handler_.handled, ElementsAre(1, 2));
}

}  // namespace
}  // namespace mycelium
