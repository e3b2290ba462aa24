// Where a link goes on after a peer has said that it has a part of a frame.
#include <cstring>
#include <string>

#include "gtest/gtest.h"
#include "mycelium/transport/framed_link_fixture.h"

namespace mycelium {
namespace {

class FramedLinkPositionsTest : public FramedLinkTest {
 protected:
  FramedLinkPositionsTest() {
    one_ = Open(3);
    Publish(*one_, kPayloadBytes);
    wire_.TakeRecords();
  }

  // Another connection: of the same process, or, with `incarnation` 3, another.
  void Reconnect(uint64_t incarnation, uint64_t received, uint64_t handled) {
    v1::Hello hello;
    hello.set_incarnation(incarnation);
    hello.set_resume_incarnation(1);
    v1::LaneProgress& progress = *hello.add_resume();
    progress.set_lane(one_->id());
    progress.set_received(received);
    progress.set_handled(handled);
    link_->Attach(std::make_shared<WireChannel>(wire_), hello, 2);
  }

  // Expects that frames of lane one are sent from `position` on, the first of
  // which has that sequence.
  void ExpectGoesOnAt(uint64_t position, uint64_t sequence) {
    for (const Wire::Record& record : wire_.TakeRecords()) {
      if (record.kind != RecordKind::kData || record.lane != one_->id()) {
        continue;
      }
      EXPECT_EQ(record.position, position);
      FrameHeader header;
      ASSERT_GE(record.body.size(), sizeof header);
      std::memcpy(&header, record.body.data(), sizeof header);
      EXPECT_EQ(header.lane_sequence, sequence);
      return;
    }
    ADD_FAILURE() << "nothing was sent";
  }

  // Each frame lies in several lines, so that positions are within it.
  static constexpr size_t kPayloadBytes = 150;
  static constexpr uint64_t kFirst =  // Where the first one ends.
      AlignedFrameBytes(sizeof(FrameHeader) + kPayloadBytes);
  static_assert(kFirst == 3 * kFrameAlignment);
};

TEST_F(FramedLinkPositionsTest, ResumesWithTheFrameAfterTheOneThePeerIsIn) {
  for (const uint64_t within :
       {kFirst + 8, kFirst + kFrameAlignment, 2 * kFirst - kFrameAlignment,
        2 * kFirst - kFrameAlignment + 2}) {
    Publish(*one_, kPayloadBytes);
    Publish(*one_, kPayloadBytes);
    wire_.TakeRecords();
    const uint64_t from = one_->released();
    Reconnect(2, from + within, from);
    ExpectGoesOnAt(from + 2 * kFirst, one_->NextSequence() - 1);
    Acknowledge(*one_, one_->committed() - kFirst);
  }
}

TEST_F(FramedLinkPositionsTest, FrameThatIsHandledInPartIsOver) {
  Publish(*one_, kPayloadBytes);
  wire_.TakeRecords();
  Reconnect(2, kFrameAlignment, kFrameAlignment);
  EXPECT_EQ(one_->released(), kFirst);
  ExpectGoesOnAt(kFirst, 2);
}

TEST_F(FramedLinkPositionsTest, AcknowledgementWithinAFrameResumesBehindIt) {
  const uint64_t second = Publish(*one_, kPayloadBytes);
  Publish(*one_, kPayloadBytes);
  wire_.TakeRecords();
  Acknowledge(*one_, kFirst + 2 * kFrameAlignment, kFrameAlignment);
  Reconnect(2, kFirst + 2 * kFrameAlignment, kFrameAlignment);
  EXPECT_EQ(one_->released(), kFirst);
  ExpectGoesOnAt(second, 3);
}

TEST_F(FramedLinkPositionsTest, NextProcessStartsWithAWholeFrame) {
  Publish(*one_, kPayloadBytes);
  wire_.TakeRecords();
  Acknowledge(*one_, kFrameAlignment);
  Reconnect(3, 0, 0);
  EXPECT_EQ(one_->released(), kFirst);
  link_->AdoptLane(*one_, 1);
  ExpectGoesOnAt(kFirst, 2);
}

TEST_F(FramedLinkPositionsTest, LossyLaneGoesOnWithAWholeFrame) {
  Lane::Options options;
  options.capacity_bytes = kLaneBytes;
  options.window = 4;
  options.lossy = LossyStage::Options{/*depth=*/8};
  one_ = *link_->OpenLane(7, options);
  for (int i = 0; i < 3; ++i) Publish(*one_, kPayloadBytes);
  wire_.TakeRecords();
  Acknowledge(*one_, kFirst, kFirst);
  Reconnect(2, 2 * kFirst - kFrameAlignment, kFirst + kFrameAlignment);
  EXPECT_EQ(one_->released(), 2 * kFirst);
  ExpectGoesOnAt(2 * kFirst, 3);
}

}  // namespace
}  // namespace mycelium
