// What a peer with a link may send, and what it costs the other peers.

#include <atomic>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/message/protobuf_type.h"
#include "tests/conformance/raw_peer.h"
#include "tests/conformance/served_node.h"

namespace mycelium::test {
namespace {

class HostilePeerTest : public ::testing::TestWithParam<std::string> {
 protected:
  // The id of the subscription of that name, as peers are told it.
  uint32_t IdOf(const std::string& name) {
    RawPeer guest = served_.Greeted("asks");
    while (const auto told = guest.ReadUntilControl(v1::Control::kSubscribe)) {
      const v1::Subscribe& subscribe = told->control.subscribe();
      if (subscribe.name() == name) return subscribe.subscription();
    }
    ADD_FAILURE() << "no subscription " << name;
    return 0;
  }

  // Sends far more on lane 1 than its 4096 bytes, as long as the node takes it.
  static void Flood(RawPeer& peer) {
    uint64_t position = 0;
    for (uint64_t sequence = 1; sequence <= 1000; ++sequence) {
      if (!peer.SendFrame(1, position, NoteFrame(sequence))) break;
      position += BytesOf(NoteFrame(sequence)).size();
    }
  }

  // Sends with `misbehave` on a link that has already delivered one note, and
  // expects that the link is closed for a reason that contains `reason`.
  void ExpectClosed(const std::string& reason,
                    const std::function<void(RawPeer&)>& misbehave) {
    SCOPED_TRACE(reason);
    const std::string name = absl::StrCat("hostile-", ++hostiles_);
    RawPeer peer = served_.Publishing(name);
    peer.SendFrame(0, 0, NoteFrame(1));
    ASSERT_TRUE(served_.HasGotFrom(name));
    misbehave(peer);
    EXPECT_TRUE(peer.Closed());
    const auto event =
        served_.EventWith(ConnectionEvent::State::kDisconnected, name);
    ASSERT_TRUE(event.has_value()) << served_.Told();
    EXPECT_EQ(event->status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(event->status.message()),
                ::testing::HasSubstr(reason));
    EXPECT_TRUE(served_.WasTold(reason));
    EXPECT_EQ(served_.IdsFrom(name, "inline").size(), 1u);
  }

  // The place where the frame after the first one goes.
  static uint64_t AfterFirst() { return BytesOf(NoteFrame(1)).size(); }

  ServedNode served_{GetParam()};
  int hostiles_ = 0;
};

INSTANTIATE_TEST_SUITE_P(LocalTransports, HostilePeerTest,
                         ::testing::Values("unix", "shm"),
                         [](const auto& info) { return info.param; });

TEST_P(HostilePeerTest, WellFormedBytesByHandAreDelivered) {
  RawPeer peer = served_.Publishing("by-hand");
  uint64_t position = 0;
  for (uint64_t sequence = 1; sequence <= 3; ++sequence) {
    peer.SendFrame(0, position, NoteFrame(sequence));
    position += BytesOf(NoteFrame(sequence)).size();
  }
  const auto acked = peer.ReadUntil([&](const RawPeer::Record& record) {
    if (record.header.kind != static_cast<uint8_t>(RecordKind::kAck)) {
      return false;
    }
    AckEntry ack;
    std::memcpy(&ack, record.body.data(), sizeof ack);
    return ack.lane == 0 && ack.received == position && ack.handled == position;
  });
  EXPECT_TRUE(acked.has_value());
  EXPECT_THAT(served_.IdsFrom("by-hand", "inline"),
              ::testing::ElementsAre(1, 2, 3));
  served_.ExpectServesOthers();
}

TEST_P(HostilePeerTest, DataOutOfPlaceClosesTheLink) {
  ExpectClosed("data for lane 9, which is not open",
               [](RawPeer& peer) { peer.SendFrame(9, 0, NoteFrame(1)); });
  ExpectClosed("has sequence 3, expected 2", [](RawPeer& peer) {
    peer.SendFrame(0, AfterFirst(), NoteFrame(3));
  });
  ExpectClosed("has sequence 1, expected 2", [](RawPeer& peer) {
    peer.SendFrame(0, AfterFirst(), NoteFrame(1));
  });
  ExpectClosed("at position 0, expected",
               [](RawPeer& peer) { peer.SendFrame(0, 0, NoteFrame(2)); });
  ExpectClosed("at position", [](RawPeer& peer) {
    peer.SendFrame(0, AfterFirst() + 1, NoteFrame(2));
  });
  served_.ExpectServesOthers();
}

TEST_P(HostilePeerTest, DataBeyondTheLapOfTheLaneClosesTheLink) {
  // Only a pad may be skipped, and it ends where the ring does.
  ExpectClosed("at position", [](RawPeer& peer) {
    peer.SendFrame(0, AfterFirst() + kFrameAlignment, NoteFrame(2));
  });
  ExpectClosed("at position",
               [](RawPeer& peer) { peer.SendFrame(0, 1 << 17, NoteFrame(2)); });
  ExpectClosed("at position", [](RawPeer& peer) {
    peer.SendFrame(0, ~uint64_t{0} - (kFrameAlignment - 1), NoteFrame(2));
  });
  served_.ExpectServesOthers();
}

TEST_P(HostilePeerTest, DataBehindAPadIsDelivered) {
  RawPeer peer = served_.Publishing("padder");
  peer.SendFrame(0, 0, NoteFrame(1));
  peer.SendFrame(0, 1 << 16, NoteFrame(2));
  const auto acked = peer.ReadUntil([&](const RawPeer::Record& record) {
    AckEntry ack;
    if (record.body.size() < sizeof ack) return false;
    std::memcpy(&ack, record.body.data(), sizeof ack);
    return record.header.kind == static_cast<uint8_t>(RecordKind::kAck) &&
           ack.handled == (1 << 16) + BytesOf(NoteFrame(2)).size();
  });
  EXPECT_TRUE(acked.has_value());
  EXPECT_EQ(served_.IdsFrom("padder", "inline").size(), 2u);
}

TEST_P(HostilePeerTest, FrameThatLiesClosesTheLink) {
  ExpectClosed("which was not declared with that type", [](RawPeer& peer) {
    RawFrame frame = NoteFrame(2);
    frame.publisher = 2;
    peer.SendFrame(0, AfterFirst(), frame);
  });
  ExpectClosed("which was not declared with that type", [](RawPeer& peer) {
    RawFrame frame = NoteFrame(2);
    frame.digest_prefix ^= 1;
    peer.SendFrame(0, AfterFirst(), frame);
  });
  ExpectClosed("goes beyond its record", [](RawPeer& peer) {
    RawFrame frame = NoteFrame(2);
    frame.frame_bytes = 4096;
    peer.SendFrame(0, AfterFirst(), frame);
  });
  ExpectClosed("announces 39 bytes", [](RawPeer& peer) {
    RawFrame frame = NoteFrame(2);
    frame.frame_bytes = 39;
    peer.SendFrame(0, AfterFirst(), frame);
  });
  ExpectClosed("announces 2097153 bytes (allowed 40 to 2097152)",
               [](RawPeer& peer) {
                 RawFrame frame = NoteFrame(2);
                 frame.frame_bytes = (2 << 20) + 1;
                 peer.SendFrame(0, AfterFirst(), frame);
               });
  ExpectClosed("extension of 65528 bytes", [](RawPeer& peer) {
    RawFrame frame = NoteFrame(2);
    frame.extension_bytes = 65528;
    peer.SendFrame(0, AfterFirst(), frame);
  });
  for (const uint16_t flag : {kFramePad, kFrameObject, FrameFlag{1 << 15}}) {
    ExpectClosed(absl::StrCat("flags ", flag), [flag](RawPeer& peer) {
      RawFrame frame = NoteFrame(2);
      frame.flags = flag;
      peer.SendFrame(0, AfterFirst(), frame);
    });
  }
  served_.ExpectServesOthers();
}

TEST_P(HostilePeerTest, RecordThatLiesClosesTheLink) {
  ExpectClosed("unknown record kind 9", [](RawPeer& peer) {
    peer.Send(RecordBytes(static_cast<RecordKind>(9), "x"));
  });
  ExpectClosed("record starts with",
               [](RawPeer& peer) { peer.Send(std::string(24, 'g')); });
  ExpectClosed("announces 4294967280 bytes of control", [](RawPeer& peer) {
    peer.Send(RecordBytes(RecordKind::kControl, "", 0, 0, 0xFFFFFFF0));
  });
  ExpectClosed("a control message does not parse", [](RawPeer& peer) {
    peer.Send(RecordBytes(RecordKind::kControl, "\xff\xff\xff"));
  });
  ExpectClosed("an acknowledgement has 23 bytes", [](RawPeer& peer) {
    peer.Send(RecordBytes(RecordKind::kAck, std::string(23, '\0')));
  });
  served_.ExpectServesOthers();
}

TEST_P(HostilePeerTest, HugeDataRecordIsReadFrameByFrame) {
  // The record may be as long as it claims: the node keeps only frames whole.
  RawPeer peer = served_.Publishing("endless");
  peer.Send(RecordBytes(RecordKind::kData, "", 0, 0, 0xFFFFFFF8));
  for (uint64_t sequence = 1; sequence <= 3; ++sequence) {
    peer.Send(BytesOf(NoteFrame(sequence)));
  }
  ASSERT_TRUE(served_.HasGotFrom("endless"));
  EXPECT_FALSE(peer.ClosedWithin(0));
  peer.Close();
  EXPECT_TRUE(
      served_.EventWith(ConnectionEvent::State::kDisconnected, "endless")
          .has_value());
  served_.ExpectServesOthers();
}

TEST_P(HostilePeerTest, UnknownControlMessagesAreIgnored) {
  RawPeer peer = served_.Publishing("newer");
  // Field 1000 of a Control of the future, and a Control of nothing.
  peer.Send(RecordBytes(RecordKind::kControl, std::string("\xc2\x3e\x01z", 4)));
  peer.Send(RecordBytes(RecordKind::kControl, ""));
  v1::Control control;
  *control.mutable_hello() = HelloFrom("newer");  // For the second time.
  peer.SendControl(control);
  control.mutable_reject()->set_message("no");
  peer.SendControl(control);
  control.mutable_unsubscribe()->set_subscription(4711);
  peer.SendControl(control);
  control.mutable_subscribe_refused()->set_subscription(4711);
  peer.SendControl(control);
  control.mutable_canonical_text()->set_subscription(4711);
  peer.SendControl(control);
  control.mutable_unmatched()->set_publisher(4711);
  peer.SendControl(control);
  control.mutable_lane_closed()->set_lane(4711);
  peer.SendControl(control);
  peer.SendControl(MatchOf(4711, 4711, 4711));
  peer.SendFrame(0, 0, NoteFrame(1));
  EXPECT_TRUE(served_.HasGotFrom("newer"));
  served_.ExpectServesOthers();
}

TEST_P(HostilePeerTest, SubscriptionToUnknownTopicOrTypeHarmsNobody) {
  RawPeer peer = served_.Greeted("curious");
  v1::Control control = SubscribeOf(1);
  control.mutable_subscribe()->set_topic("no.such.topic");
  peer.SendControl(control);
  control = SubscribeOf(2);
  control.mutable_subscribe()->set_type("no.such.Type");
  control.mutable_subscribe()->set_type_digest(std::string(32, 'x'));
  peer.SendControl(control);
  const auto refused = peer.ReadUntilControl(v1::Control::kSubscribeRefused);
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->control.subscribe_refused().subscription(), 2u);
  EXPECT_EQ(refused->control.subscribe_refused().type_digest(),
            MessageTypeOf<Note>().digest.bytes());
  control = SubscribeOf(3);
  control.mutable_subscribe()->set_type_digest("short");
  peer.SendControl(control);
  ASSERT_TRUE(
      peer.ReadUntilControl(v1::Control::kSubscribeRefused).has_value());
  served_.ExpectServesOthers();
}

TEST_P(HostilePeerTest, PeerThatReadsNothingLosesItsConnection) {
  // More types than a peer remembers the texts of, so that each text is sent
  // again.
  std::vector<RawPublisher> publishers;
  for (const char name : {'a', 'b', 'c', 'd', 'e', 'f'}) {
    MessageType large =
        RawMessageType("large", Digest::Of(std::string(1, name)));
    large.canonical_text = std::string(200 << 10, name);
    auto publisher = served_.bus().RawPublisher(large);
    ASSERT_TRUE(publisher.ok()) << publisher.status();
    publishers.push_back(*std::move(publisher));
  }
  RawPeer peer = served_.Greeted("deaf");
  v1::Control control = SubscribeOf(0);
  control.mutable_subscribe()->set_topic("large");
  control.mutable_subscribe()->set_type("large");
  control.mutable_subscribe()->set_type_digest(std::string(32, 'x'));
  for (uint32_t id = 1; id <= 100; ++id) {
    control.mutable_subscribe()->set_subscription(id);
    if (!peer.SendControl(control)) break;
  }
  const auto event =
      served_.EventWith(ConnectionEvent::State::kDisconnected, "deaf");
  ASSERT_TRUE(event.has_value()) << served_.Told();
  EXPECT_EQ(event->status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(event->status.message()),
              ::testing::HasSubstr("of control messages unread"));
  served_.ExpectServesOthers();
}

TEST_P(HostilePeerTest, FramesOfAnotherTypeNeverReachAHandler) {
  RawPeer peer = served_.Greeted("impostor");
  v1::Control declare = DeclareOf(1);
  declare.mutable_publisher()->set_type("another.Type");
  declare.mutable_publisher()->set_type_digest(std::string(32, 'x'));
  peer.SendControl(declare);
  peer.SendControl(LaneOpenOf(0, 0));
  peer.SendControl(MatchOf(1, served_.inline_id(), 0));
  RawFrame frame = NoteFrame(1);
  std::memset(&frame.digest_prefix, 'x', sizeof frame.digest_prefix);
  peer.SendFrame(0, 0, frame);
  // The same with a topic that the subscription does not have.
  declare = DeclareOf(2);
  declare.mutable_publisher()->set_topic("another.topic");
  peer.SendControl(declare);
  peer.SendControl(MatchOf(2, served_.inline_id(), 0));
  RawFrame second = NoteFrame(2);
  second.publisher = 2;
  peer.SendFrame(0, BytesOf(frame).size(), second);
  // An honest publisher after them shows that they have been dealt with.
  peer.SendControl(DeclareOf(3));
  v1::Control match = MatchOf(3, served_.inline_id(), 0);
  peer.SendControl(match);
  RawFrame third = NoteFrame(3);
  third.publisher = 3;
  peer.SendFrame(0, BytesOf(frame).size() + BytesOf(second).size(), third);
  ASSERT_TRUE(served_.HasGotFrom("impostor"));
  EXPECT_THAT(served_.IdsFrom("impostor", "inline"), ::testing::ElementsAre(3));
  EXPECT_TRUE(served_.WasTold("another.Type")) << served_.Told();
  served_.ExpectServesOthers();
}

TEST_P(HostilePeerTest, LaneOfImpossibleCapacityIsNotOpened) {
  for (const uint64_t capacity : {uint64_t{0}, uint64_t{1}, uint64_t{65537},
                                  uint64_t{1} << 40, ~uint64_t{0}}) {
    ExpectClosed(
        absl::StrCat("a lane of ", capacity, " bytes"), [&](RawPeer& peer) {
          peer.SendControl(LaneOpenOf(1, served_.queued_id(), capacity));
          peer.SendControl(MatchOf(1, served_.queued_id(), 1));
          peer.SendFrame(1, 0, NoteFrame(1));
        });
  }
  served_.ExpectServesOthers();
}

TEST_P(HostilePeerTest, FrameLargerThanItsLaneAllowsClosesTheLink) {
  // The frame takes more than half of the ring, so that no honest lane could
  // hold it.
  ExpectClosed("lane 1", [&](RawPeer& peer) {
    peer.SendControl(LaneOpenOf(1, served_.queued_id(), 4096));
    peer.SendControl(MatchOf(1, served_.queued_id(), 1));
    RawFrame frame = NoteFrame(1);
    Note note = MakeNote(1);
    note.set_blob(std::string(5000, 'b'));
    frame.payload = note.SerializeAsString();
    peer.SendFrame(1, 0, frame);
  });
  served_.ExpectServesOthers();
}

TEST_P(HostilePeerTest, MoreThanTheLaneHoldsClosesTheLink) {
  // Acknowledgements are ignored, and no subscriber takes what comes.
  SubscriberOptions options;
  options.name = "idle";
  const auto idle = served_.bus().Subscriber<Note>(options);
  ASSERT_TRUE(idle.ok()) << idle.status();
  const uint32_t id = IdOf("idle");
  RawPeer peer = served_.Publishing("flooder");
  peer.SendControl(LaneOpenOf(1, id, 4096));
  peer.SendControl(MatchOf(1, id, 1));
  Flood(peer);
  EXPECT_TRUE(peer.Closed());
  EXPECT_EQ(served_.EventWith(ConnectionEvent::State::kDisconnected, "flooder")
                ->status.code(),
            absl::StatusCode::kDataLoss);
}

TEST_P(HostilePeerTest, LaneOfNobodyWithSomebodysMessagesClosesTheLink) {
  RawPeer peer = served_.Publishing("flooder");
  peer.SendControl(LaneOpenOf(1, /*subscription=*/4711, 4096));
  peer.SendControl(MatchOf(1, served_.queued_id(), 1));
  Flood(peer);
  EXPECT_TRUE(peer.Closed());
  EXPECT_EQ(served_.EventWith(ConnectionEvent::State::kDisconnected, "flooder")
                ->status.code(),
            absl::StatusCode::kDataLoss);
  served_.ExpectServesOthers();
}

// Acknowledgements of what the served node publishes.
class HostileAckTest : public HostilePeerTest {
 protected:
  // A subscriber by hand that has been sent `notes`. Returns the position
  // behind the last note.
  RawPeer Subscribed(const std::string& name, int notes, uint64_t* end) {
    RawPeer peer = served_.Greeted(name);
    peer.SendControl(SubscribeOf(1));
    EXPECT_TRUE(peer.ReadUntilControl(v1::Control::kMatched).has_value());
    for (int id = 1; id <= notes; ++id) {
      Note note = MakeNote(id);
      note.set_blob(std::string(100, 'b'));  // There are places within a frame.
      EXPECT_TRUE(served_.publisher().Publish(note).ok());
    }
    uint64_t sequence = 0;
    while (sequence < static_cast<uint64_t>(notes)) {
      const auto data = peer.ReadUntil([](const RawPeer::Record& record) {
        return record.header.kind == static_cast<uint8_t>(RecordKind::kData);
      });
      if (!data.has_value()) break;
      *end = data->header.position + data->body.size();
      for (size_t at = 0; at < data->body.size(); ++sequence) {
        FrameHeader header;
        std::memcpy(&header, data->body.data() + at, sizeof header);
        at += AlignedFrameBytes(header.frame_bytes);
      }
    }
    return peer;
  }

  void ExpectAckRefused(const std::function<void(RawPeer&, uint64_t)>& ack) {
    const std::string name = absl::StrCat("liar-", ++hostiles_);
    uint64_t end = 0;
    RawPeer peer = Subscribed(name, 3, &end);
    ack(peer, end);
    EXPECT_TRUE(peer.Closed());
    const auto event =
        served_.EventWith(ConnectionEvent::State::kDisconnected, name);
    ASSERT_TRUE(event.has_value());
    EXPECT_EQ(event->status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(event->status.message()),
                ::testing::HasSubstr("acknowledgement of lane 0 says"));
    served_.ExpectServesOthers();
  }
};

INSTANTIATE_TEST_SUITE_P(LocalTransports, HostileAckTest,
                         ::testing::Values("unix", "shm"),
                         [](const auto& info) { return info.param; });

TEST_P(HostileAckTest, AckBeyondWhatWasSentClosesTheLink) {
  ExpectAckRefused([](RawPeer& peer, uint64_t end) {
    peer.SendAck(0, end + kFrameAlignment, end);
  });
  ExpectAckRefused([](RawPeer& peer, uint64_t end) {
    peer.SendAck(0, end + kFrameAlignment, end + kFrameAlignment);
  });
  ExpectAckRefused([](RawPeer& peer, uint64_t) {
    peer.SendAck(0, ~uint64_t{0}, ~uint64_t{0});
  });
}

TEST_P(HostileAckTest, AckThatGoesBackClosesTheLink) {
  ExpectAckRefused([](RawPeer& peer, uint64_t end) {
    peer.SendAck(0, end, end);
    peer.SendAck(0, end, 0);
  });
}

TEST_P(HostileAckTest, AckOfMoreHandledThanReceivedClosesTheLink) {
  ExpectAckRefused(
      [](RawPeer& peer, uint64_t end) { peer.SendAck(0, 0, end); });
}

TEST_P(HostileAckTest, AckThatIsNotAlignedClosesTheLink) {
  for (const uint64_t handled : {uint64_t{4}, kFrameAlignment / 2}) {
    ExpectAckRefused([handled](RawPeer& peer, uint64_t end) {
      peer.SendAck(0, end, handled);
    });
  }
}

TEST_P(HostileAckTest, AckInTheMiddleOfAFrameHangsNobody) {
  uint64_t end = 0;
  RawPeer peer = Subscribed("splitter", 2, &end);
  // A payload of zeros looks like a frame header that announces nothing.
  Note zeros;
  zeros.set_blob(std::string(4096, '\0'));
  ASSERT_TRUE(served_.publisher().Publish(zeros).ok());
  const auto data = peer.ReadUntil([](const RawPeer::Record& record) {
    return record.header.kind == static_cast<uint8_t>(RecordKind::kData);
  });
  ASSERT_TRUE(data.has_value());
  const uint64_t middle = data->header.position + 1024;
  peer.SendAck(0, middle, middle);
  // Whatever becomes of the link, counting the messages in it ends.
  served_.ExpectServesOthers();
  (void)served_.bus().FlowReports();
  peer.Close();
  served_.ExpectServesOthers();
}

TEST_P(HostileAckTest, AckOfALaneThatIsNotThereIsIgnored) {
  uint64_t end = 0;
  RawPeer peer = Subscribed("late", 1, &end);
  peer.SendAck(4711, 1 << 20, 1 << 20);
  peer.SendAck(0, end, end);
  served_.ExpectServesOthers();
  EXPECT_FALSE(peer.ClosedWithin(0));
}

TEST_P(HostileAckTest, ResumeFromImpossiblePlacesHangsNobody) {
  uint64_t end = 0;
  uint64_t incarnation = 0;
  {
    RawPeer peer(served_.path());
    const v1::Control answer = peer.SayHello(HelloFrom("resumer", 5));
    incarnation = answer.hello().incarnation();
    peer.Close();
  }
  RawPeer first = Subscribed("resumer-2", 3, &end);
  for (const uint64_t received :
       {uint64_t{4}, uint64_t{kFrameAlignment}, end - kFrameAlignment,
        end + kFrameAlignment, ~uint64_t{0}}) {
    RawPeer peer(served_.path());
    v1::Hello hello = HelloFrom("resumer-2");
    hello.set_resume_incarnation(incarnation);
    v1::LaneProgress& lane = *hello.add_resume();
    lane.set_lane(0);
    lane.set_received(received);
    lane.set_handled(0);
    ASSERT_TRUE(peer.SayHello(hello).has_hello());
    peer.SendControl(SubscribeOf(1));
    ASSERT_TRUE(served_.publisher().Publish(MakeNote(9)).ok());
    EXPECT_TRUE(peer.ReadUntilControl(v1::Control::kLaneOpen).has_value());
  }
  served_.ExpectServesOthers();
}

TEST_P(HostilePeerTest, DisconnectInTheMiddleOfAnythingIsSurvived) {
  std::string bytes = ControlBytes(DeclareOf(1));
  bytes += ControlBytes(LaneOpenOf(0, 0));
  bytes += ControlBytes(MatchOf(1, served_.inline_id(), 0));
  bytes += RecordBytes(RecordKind::kData, BytesOf(NoteFrame(1)));
  bytes += RecordBytes(RecordKind::kAck, std::string(24, '\0'));
  for (size_t sent = 0; sent <= bytes.size(); sent += 3) {
    RawPeer peer = served_.Greeted(absl::StrCat("leaver-", sent));
    ASSERT_TRUE(peer.Send(absl::string_view(bytes).substr(0, sent)));
  }
  served_.ExpectServesOthers();
}

TEST_P(HostilePeerTest, ThousandsOfQuickConnectsLeakNothing) {
  served_.ExpectServesOthers();
  const size_t before = OpenDescriptors();
  std::atomic<bool> done{false};
  std::thread knocker([&] {
    for (int i = 0; i < 10'000; ++i) {
      RawPeer peer(served_.path());
      EXPECT_TRUE(peer.connected());
    }
    done = true;
  });
  while (!done) served_.ExpectServesOthers();
  knocker.join();
  served_.ExpectServesOthers();
  // The last connections may still be closing.
  for (int tries = 0; OpenDescriptors() > before && tries < 1000; ++tries) {
    served_.ExpectServesOthers();
  }
  // There may be fewer, if the first guest was still closing then.
  EXPECT_LE(OpenDescriptors(), before);
}

}  // namespace
}  // namespace mycelium::test
