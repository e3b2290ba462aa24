// How a link ends in good order, seen from the other end of the wire.

#include <cstring>
#include <thread>

#include "gtest/gtest.h"
#include "tests/conformance/raw_peer.h"
#include "tests/conformance/served_node.h"

namespace mycelium::test {
namespace {

constexpr char kPeer[] = "by-hand";

class PartingTest : public ::testing::TestWithParam<std::string> {
 protected:
  static v1::Control GoodbyeOf(bool final) {
    v1::Control control;
    control.mutable_goodbye()->set_final(final);
    return control;
  }

  static bool IsGoodbye(const RawPeer::Record& record, bool final) {
    return record.control.has_goodbye() &&
           record.control.goodbye().final() == final;
  }

  // A peer that has subscribed, and has read the `notes` that were published
  // then. `*ends`: the position behind each note.
  RawPeer Subscribed(size_t notes, std::vector<uint64_t>* ends) {
    RawPeer peer = served_.Greeted(kPeer);
    peer.SendControl(SubscribeOf(7));
    EXPECT_TRUE(peer.ReadUntilControl(v1::Control::kMatched).has_value());
    for (uint64_t id = 1; id <= notes; ++id) {
      EXPECT_TRUE(served_.publisher().Publish(MakeNote(id)).ok());
    }
    while (ends->size() < notes) {
      const auto data = peer.ReadUntil([](const RawPeer::Record& record) {
        return record.header.kind == static_cast<uint8_t>(RecordKind::kData);
      });
      if (!data.has_value()) break;
      for (size_t at = 0; at < data->body.size();) {
        FrameHeader header;
        std::memcpy(&header, data->body.data() + at, sizeof header);
        at += AlignedFrameBytes(header.frame_bytes);
        ends->push_back(data->header.position + at);
      }
    }
    return peer;
  }

  Ledger LedgerTowardsPeer() {
    for (const FlowReport& flow : served_.bus().FlowReports()) {
      if (flow.subscriber_node == kPeer) return flow.ledger;
    }
    ADD_FAILURE() << "no flow to " << kPeer;
    return Ledger();
  }

  // Shuts the node down while `peer` answers.
  void ShutdownWhile(const std::function<void()>& peer) {
    std::thread answering(peer);
    EXPECT_EQ(served_.bus().Shutdown(absl::Milliseconds(50)).code(),
              absl::StatusCode::kDeadlineExceeded);
    answering.join();
  }

  ServedNode served_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(AllTransports, PartingTest,
                         ::testing::Values("unix", "shm"),
                         [](const auto& info) { return info.param; });

TEST_P(PartingTest, GoodbyeIsAnsweredWithWhatWasHandledAndThenTheLastWord) {
  RawPeer peer = served_.Publishing(kPeer);
  const uint64_t end = 3 * BytesOf(NoteFrame(1)).size();
  for (uint64_t sequence = 1; sequence <= 3; ++sequence) {
    peer.SendFrame(0, (sequence - 1) * end / 3, NoteFrame(sequence));
  }
  peer.SendControl(GoodbyeOf(false));
  AckEntry acked = {};
  bool said = false;
  const auto last = peer.ReadUntil([&](const RawPeer::Record& record) {
    if (record.header.kind == static_cast<uint8_t>(RecordKind::kAck)) {
      EXPECT_FALSE(said) << "acknowledges after its last word";
      std::memcpy(&acked, record.body.data(), sizeof acked);
    }
    said |= IsGoodbye(record, false);
    return IsGoodbye(record, true);
  });
  EXPECT_TRUE(last.has_value());
  EXPECT_TRUE(said);
  EXPECT_EQ(acked.received, end);
  EXPECT_EQ(acked.handled, end);
  peer.SendControl(GoodbyeOf(true));
  EXPECT_TRUE(peer.Closed());
  EXPECT_TRUE(served_.EventWith(ConnectionEvent::State::kGone, kPeer));
  EXPECT_EQ(served_.IdsFrom(kPeer, "inline").size(), 3u);
}

TEST_P(PartingTest, WhatThePeerHasTakenOverIsItsToCount) {
  std::vector<uint64_t> ends;
  RawPeer peer = Subscribed(3, &ends);
  ASSERT_EQ(ends.size(), 3u);
  ShutdownWhile([&] {
    EXPECT_TRUE(peer.ReadUntil([](const RawPeer::Record& record) {
      return IsGoodbye(record, false);
    }));
    peer.SendControl(GoodbyeOf(false));
    EXPECT_TRUE(peer.ReadUntil(
        [](const RawPeer::Record& record) { return IsGoodbye(record, true); }));
    // Two have arrived, and wait in a queue of the peer.
    peer.SendAck(0, ends[1], 0);
    peer.SendControl(GoodbyeOf(true));
    EXPECT_TRUE(peer.Closed());
  });
  const Ledger ledger = LedgerTowardsPeer();
  EXPECT_EQ(ledger.accepted, 3u);
  EXPECT_EQ(ledger.in_flight, 0u);
  EXPECT_EQ(ledger.dropped[static_cast<size_t>(DropReason::kShutdown)], 1u);
}

TEST_P(PartingTest, PeerWithoutALastWordIsNotWaitedForLong) {
  std::vector<uint64_t> ends;
  RawPeer peer = Subscribed(3, &ends);
  ASSERT_EQ(ends.size(), 3u);
  ShutdownWhile([&] {
    EXPECT_TRUE(peer.ReadUntil([](const RawPeer::Record& record) {
      return IsGoodbye(record, false);
    }));
    EXPECT_TRUE(peer.Closed());
  });
  EXPECT_EQ(
      LedgerTowardsPeer().dropped[static_cast<size_t>(DropReason::kShutdown)],
      3u);
}

TEST_P(PartingTest, WhatASilentPeerHadReceivedCountsAsDropped) {
  std::vector<uint64_t> ends;
  RawPeer peer = Subscribed(3, &ends);
  ASSERT_EQ(ends.size(), 3u);
  ShutdownWhile([&] {
    EXPECT_TRUE(peer.ReadUntil([](const RawPeer::Record& record) {
      return IsGoodbye(record, false);
    }));
    // Two have arrived and one of them is handled; then the peer says nothing
    // more.
    peer.SendAck(0, ends[1], ends[0]);
    EXPECT_TRUE(peer.Closed());
  });
  const Ledger ledger = LedgerTowardsPeer();
  EXPECT_EQ(ledger.accepted, 3u);
  EXPECT_EQ(ledger.in_flight, 0u);
  EXPECT_EQ(ledger.dropped[static_cast<size_t>(DropReason::kShutdown)], 2u);
}

TEST_P(PartingTest, NodeThatLeavesTakesNoNewConnection) {
  std::vector<uint64_t> ends;
  RawPeer peer = Subscribed(1, &ends);
  RawPeer early(served_.path());  // It has not said Hello yet.
  ShutdownWhile([&] {
    EXPECT_TRUE(peer.ReadUntil([](const RawPeer::Record& record) {
      return IsGoodbye(record, false);
    }));
    EXPECT_FALSE(early.SayHello(HelloFrom("early")).has_hello());
    EXPECT_TRUE(early.Closed());
    EXPECT_FALSE(RawPeer(served_.path()).connected());
    EXPECT_TRUE(peer.Closed());
  });
}

TEST_P(PartingTest, LastWordWithoutAFirstOneEndsNothing) {
  RawPeer peer = served_.Publishing(kPeer);
  peer.SendControl(GoodbyeOf(true));
  peer.SendFrame(0, 0, NoteFrame(1));
  EXPECT_TRUE(served_.HasGotFrom(kPeer));
  served_.ExpectServesOthers();
}

}  // namespace
}  // namespace mycelium::test
