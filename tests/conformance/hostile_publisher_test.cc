// What a publisher may do to memory that it shares, and what it costs the other
// peers.

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/conformance/hostile_memory_fixture.h"
#include "tests/support/comes.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

constexpr size_t kRingBytes = 1 << 16;
constexpr uint64_t kIdentity = 4711;
// The number of control messages before the first frame of a publisher by hand.
constexpr uint32_t kStamp = 3;

class HostilePublisherTest : public HostileMemoryTest {
 protected:
  struct Publisher {
    std::string name;
    RawPeer peer;
    std::unique_ptr<RawLane> lane;
  };

  // Opens lane 0, or a lane of its own for the queued subscription.
  Publisher Start(uint32_t lossy_window = 0, bool queued = false,
                  uint64_t position = 0) {
    const std::string name = absl::StrCat("hostile-", ++hostiles_);
    Publisher started{name, served_->Greeted(name, 1, /*shares=*/true),
                      std::make_unique<RawLane>(kRingBytes, kIdentity)};
    const uint32_t lane = queued ? 1 : 0;
    const uint32_t subscription =
        queued ? served_->queued_id() : served_->inline_id();
    started.peer.SendControl(DeclareOf(1));
    v1::Control open =
        LaneOpenOf(lane, queued ? subscription : 0, kRingBytes, position);
    open.mutable_lane_open()->set_shared_identity(kIdentity);
    open.mutable_lane_open()->set_control_number(2);
    open.mutable_lane_open()->set_lossy_window(lossy_window);
    EXPECT_TRUE(started.peer.SendWithDescriptors(ControlBytes(open),
                                                 started.lane->descriptors()));
    started.peer.SendControl(MatchOf(1, subscription, lane));
    return started;
  }

  // Lets a publisher send one note and then misbehave behind it; expects that
  // the link ends for those reasons.
  void ExpectNoticed(
      const std::vector<std::string>& reasons,
      const std::function<void(RawLane& lane, uint64_t at)>& misbehave,
      uint32_t lossy_window = 0) {
    SCOPED_TRACE(reasons[0]);
    Publisher hostile = Start(lossy_window);
    const uint64_t at = hostile.lane->Write(0, NoteFrame(1), kStamp);
    Ring(hostile.peer);
    ASSERT_TRUE(served_->HasGotFrom(hostile.name)) << served_->Told();
    misbehave(*hostile.lane, at);
    Ring(hostile.peer);
    ExpectDataLoss(hostile.name, reasons);
    EXPECT_TRUE(hostile.peer.Closed());
    EXPECT_EQ(served_->IdsFrom(hostile.name, "inline").size(), 1u);
  }
};

TEST_F(HostilePublisherTest, WellFormedFramesByHandAreDeliveredAndReleased) {
  Publisher honest = Start();
  uint64_t at = 0;
  // Writes several laps, so that there are pads.
  for (uint64_t sequence = 1; sequence <= 2000; ++sequence) {
    RawFrame frame = NoteFrame(sequence);
    Note note = MakeNote(sequence);
    note.set_blob(std::string(sequence % 3000, 'b'));
    frame.payload = note.SerializeAsString();
    const uint64_t bytes = BytesOf(frame).size();
    const uint64_t run = kRingBytes - at % kRingBytes;
    const uint64_t start = bytes <= run ? at : at + run;
    ASSERT_TRUE(Comes([&] {  // The doorbell rang after each.
      return honest.lane->released() + kRingBytes >=
             start + bytes + kFrameAlignment;
    }));
    honest.lane->Write(start, frame, kStamp);
    if (start != at) honest.lane->WritePad(at, static_cast<uint32_t>(run));
    Ring(honest.peer);
    at = start + bytes;
  }
  ASSERT_TRUE(Comes([&] { return honest.lane->released() == at; }));
  EXPECT_EQ(served_->IdsFrom(honest.name, "inline").size(), 2000u);
  EXPECT_FALSE(honest.peer.ClosedWithin(0));
}

TEST_F(HostilePublisherTest, FrameAtTheVeryEndOfTheMemoryIsDelivered) {
  // The planted bug copies more bytes than the frame has, into the guard page.
  const uint64_t bytes = BytesOf(NoteFrame(1)).size();
  Publisher honest = Start(0, false, kRingBytes - bytes);
  honest.lane->Write(kRingBytes - bytes, NoteFrame(1), kStamp);
  Ring(honest.peer);
  EXPECT_TRUE(served_->HasGotFrom(honest.name));
}

TEST_F(HostilePublisherTest, LengthThatNoFrameHasIsNoticed) {
  for (const uint32_t length :
       {1u, 8u, 39u, uint32_t{kRingBytes / 2 + 8}, uint32_t{kRingBytes},
        0x7FFFFFF8u, 0x80000000u, 0xFFFFFFFFu}) {
    ExpectNoticed(
        {"lane 0 in shared memory", "no frame starts at position 64",
         absl::StrCat("announces ", length, " bytes"), "allowed 40 to"},
        [&](RawLane& lane, uint64_t at) {
          ASSERT_EQ(at, 64u);
          lane.RingWord(at) = length;
        });
  }
}

TEST_F(HostilePublisherTest, FrameThatGoesBeyondTheMemoryIsNoticed) {
  const uint64_t start = kRingBytes - 64;
  Publisher hostile = Start(0, false, start);
  RawFrame frame = NoteFrame(1);
  frame.frame_bytes = 65;
  hostile.lane->Write(start, frame, kStamp);
  Ring(hostile.peer);
  ExpectDataLoss(hostile.name,
                 {absl::StrCat("no frame starts at position ", start),
                  "64 bytes before the end", "announces 65 bytes"});
}

TEST_F(HostilePublisherTest, PadThatDoesNotEndWithTheMemoryIsNoticed) {
  for (const size_t bytes :
       {size_t{8}, size_t{64}, kRingBytes, kRingBytes - 48}) {
    ExpectNoticed({"no frame starts at position 64"},
                  [&](RawLane& lane, uint64_t at) {
                    lane.WritePad(at, static_cast<uint32_t>(bytes));
                  });
  }
  Publisher hostile = Start();
  hostile.lane->WritePad(0, kRingBytes);  // A lap of nothing.
  Ring(hostile.peer);
  ExpectDataLoss(hostile.name, {"no frame starts at position 0"});
}

TEST_F(HostilePublisherTest, HeaderThatLiesIsNoticed) {
  const auto with = [&](const std::vector<std::string>& reasons,
                        const std::function<void(RawFrame&)>& change) {
    ExpectNoticed(reasons, [&](RawLane& lane, uint64_t at) {
      RawFrame frame = NoteFrame(2);
      change(frame);
      lane.Write(at, frame, kStamp);
    });
  };
  with({"has sequence 3, expected 2", "position 128"},
       [](RawFrame& frame) { frame.sequence = 3; });
  with({"has sequence 1, expected 2"},
       [](RawFrame& frame) { frame.sequence = 1; });
  with({"has sequence 18446744073709551615, expected 2"},
       [](RawFrame& frame) { frame.sequence = ~uint64_t{0}; });
  with({"publisher 2, which was not declared"},
       [](RawFrame& frame) { frame.publisher = 2; });
  with({"which was not declared with that type"},
       [](RawFrame& frame) { frame.digest_prefix ^= 1; });
  with({"extension of 65528 bytes"},
       [](RawFrame& frame) { frame.extension_bytes = 65528; });
  for (const uint16_t flag : {kFrameObject, FrameFlag{1 << 15}}) {
    with({absl::StrCat("flags ", flag)},
         [&](RawFrame& frame) { frame.flags = flag; });
  }
}

TEST_F(HostilePublisherTest, CorruptionBehindTheEndOfTheConnectionIsNoticed) {
  Publisher hostile = Start();
  uint64_t at = hostile.lane->Write(0, NoteFrame(1), kStamp);
  Ring(hostile.peer);
  ASSERT_TRUE(served_->HasGotFrom(hostile.name));
  // The node looks at it only when it notices the end: nobody rings.
  hostile.lane->sleeping() = 0;
  hostile.lane->RingWord(at) = 39;
  hostile.peer.Close();
  ExpectDataLoss(hostile.name, {"no frame starts at position 64"});
}

TEST_F(HostilePublisherTest, PublisherWhoGoesOnBehindTheEndStopsNobody) {
  Publisher hostile = Start();
  std::atomic<bool> stop{false};
  std::atomic<bool> has_written{false};
  std::thread writer([&] {
    uint64_t at = 0;
    for (uint64_t sequence = 1; !stop; ++sequence) {
      const uint64_t bytes = BytesOf(NoteFrame(sequence)).size();
      const uint64_t run = kRingBytes - at % kRingBytes;
      const uint64_t start = bytes <= run ? at : at + run;
      while (hostile.lane->released() + kRingBytes <
             start + bytes + kFrameAlignment) {
        if (stop) return;
      }
      hostile.lane->Write(start, NoteFrame(sequence), kStamp);
      if (start != at) hostile.lane->WritePad(at, static_cast<uint32_t>(run));
      at = start + bytes;
      has_written = true;
    }
  });
  EXPECT_TRUE(Comes([&] { return has_written.load(); }));
  Ring(hostile.peer);
  EXPECT_TRUE(served_->HasGotFrom(hostile.name));
  hostile.peer.Close();
  EXPECT_TRUE(
      served_->EventWith(ConnectionEvent::State::kDisconnected, hostile.name)
          .has_value())
      << "what comes behind the end keeps the node busy";
  served_->ExpectServesOthers();
  stop = true;
  writer.join();
}

TEST_F(HostilePublisherTest, BytesThatChangeWhileTheyAreReadHarmNobody) {
  for (const bool queued : {false, true}) {
    Publisher hostile = Start(0, queued);
    std::atomic<bool> stop{false};
    // The words behind the commit words change all the time.
    std::thread scribbler([&] {
      uint64_t random = 88172645463325252;
      while (!stop) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        const uint64_t at = random % kRingBytes & ~uint64_t{7};
        hostile.lane->RingWord(at) = random;
        hostile.lane->released() = random;
        hostile.lane->wake_at() = random;
        hostile.lane->sleeping() = random & 3;
        hostile.lane->takes_barriers() = random & 3;
      }
    });
    RawFrame frame = NoteFrame(1);
    Note note = MakeNote(1);
    note.set_blob(std::string(4000, 'b'));
    frame.payload = note.SerializeAsString();
    const std::string bytes = BytesOf(frame);
    for (int tries = 0; tries < 3000; ++tries) {
      frame.sequence = 1 + tries;
      hostile.lane->Write(tries * bytes.size(), frame, kStamp);
      Ring(hostile.peer);
    }
    EXPECT_TRUE(
        served_->EventWith(ConnectionEvent::State::kDisconnected, hostile.name)
            .has_value());
    stop = true;
    scribbler.join();
    served_->ExpectServesOthers();
  }
}

// The node looks at the lane until nobody has a frame of it any more.
TEST_F(HostilePublisherTest, LossyLaneThatIsSpoiltWithoutAConnectionIsNoticed) {
  served_->SetQueuedHeld(true);
  Publisher hostile = Start(/*lossy_window=*/2, /*queued=*/true);
  hostile.lane->Write(0, NoteFrame(1), kStamp);
  Ring(hostile.peer);
  ASSERT_TRUE(served_->HasGotFrom(hostile.name)) << served_->Told();
  hostile.peer.Close();
  ASSERT_TRUE(
      served_->EventWith(ConnectionEvent::State::kDisconnected, hostile.name)
          .has_value());
  hostile.lane->next() = 3;
  served_->SetQueuedHeld(false);
  EXPECT_TRUE(served_->WasTold(
      absl::StrCat("link served -> ", hostile.name,
                   " (shm): lane 1 in shared memory: no frame starts at "
                   "position 3; a multiple of 64 is expected")))
      << served_->Told();
  for (const LinkReport& link : served_->bus().LinkReports()) {
    if (link.peer != hostile.name) continue;
    EXPECT_THAT(link.last_error, ::testing::HasSubstr("position 3"));
  }
}

TEST_F(HostilePublisherTest, CursorOfALossyLaneThatNoFrameHasIsNoticed) {
  const auto with = [&](const std::vector<std::string>& reasons,
                        uint64_t next) {
    ExpectNoticed(
        reasons, [&](RawLane& lane, uint64_t) { lane.next() = next; },
        /*lossy_window=*/2);
  };
  with({"no frame starts at position 1;", "a multiple of 64"}, 1);
  with({"no frame starts at position 40;", "a multiple of 64"}, 40);
  with({"no frame starts at position 18446744073709551615"}, ~uint64_t{0});
  // The payload of a frame, which is written behind the reader's back.
  ExpectNoticed(
      {"no frame starts at position 128,", "announces"},
      [&](RawLane& lane, uint64_t at) {
        ASSERT_EQ(at, 64u);
        lane.next() = at + kFrameAlignment;
        Note note = MakeNote(2);
        note.set_blob(std::string(100, 'b'));
        RawFrame frame = NoteFrame(2);
        frame.payload = note.SerializeAsString();
        lane.Write(at, frame, kStamp);
      },
      /*lossy_window=*/2);
  with({"has sequence 1, expected 2 or a later"}, 0);
  with({"has sequence 1, expected 2 or a later"}, kRingBytes);
}

TEST_F(HostilePublisherTest, LossyCursorThatNeverRestsHangsNobody) {
  Publisher hostile = Start(/*lossy_window=*/2);
  std::atomic<bool> stop{false};
  std::thread flipper([&] {
    for (uint64_t i = 0; !stop; ++i) hostile.lane->next() = i * kFrameAlignment;
  });
  Ring(hostile.peer);
  served_->ExpectServesOthers();
  stop = true;
  flipper.join();
  hostile.peer.Close();
  EXPECT_TRUE(
      served_->EventWith(ConnectionEvent::State::kDisconnected, hostile.name)
          .has_value());
}

TEST_F(HostilePublisherTest, LaneOfImpossibleMemoryIsSentOverTheSocket) {
  const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  const int directory = open("/", O_RDONLY | O_CLOEXEC);
  const ShortTempDir dir;
  const int plain =
      open(dir.file("file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_EQ(ftruncate(plain, kRingBytes), 0);
  constexpr int kRing = RawLane::kRingSeals;
  constexpr int kPositions = RawLane::kPositionsSeals;
  const auto memory = [](size_t bytes, int seals) {
    return MakeMemory(bytes, seals);
  };
  const int ring = memory(kRingBytes, kRing);
  const int positions = memory(4096, kPositions);
  struct Wrong {
    const char* what;
    std::vector<int> descriptors;
  };
  const Wrong wrongs[] = {
      {"one", {ring}},
      {"swapped", {positions, ring}},
      {"a regular file", {plain, positions}},
      {"a regular file", {ring, plain}},
      {"a program", {file, positions}},
      {"a directory", {directory, directory}},
      {"not sealed", {memory(kRingBytes, 0), positions}},
      {"not sealed", {ring, memory(4096, 0)}},
      {"may shrink", {memory(kRingBytes, kRing & ~F_SEAL_SHRINK), positions}},
      {"may be written", {memory(kRingBytes, kPositions), positions}},
      {"cannot be written", {ring, memory(4096, kPositions | F_SEAL_WRITE)}},
      {"too small", {memory(kRingBytes / 2, kRing), positions}},
      {"too large", {memory(kRingBytes * 2, kRing), positions}},
      {"no bytes", {memory(0, kRing), positions}},
      {"too small", {ring, memory(64, kPositions)}},
      {"too large", {ring, memory(8192, kPositions)}},
      {"another lane's", {ring, positions}},  // Its identity is 0.
  };
  served_->ExpectServesOthers();
  const size_t before = OpenDescriptors();
  for (const Wrong& wrong : wrongs) {
    SCOPED_TRACE(wrong.what);
    const std::string name = absl::StrCat("wrong-", ++hostiles_);
    RawPeer peer = served_->Greeted(name, 1, /*shares=*/true);
    peer.SendControl(DeclareOf(1));
    v1::Control open = LaneOpenOf(0, 0, kRingBytes);
    open.mutable_lane_open()->set_shared_identity(kIdentity);
    open.mutable_lane_open()->set_control_number(2);
    ASSERT_TRUE(
        peer.SendWithDescriptors(ControlBytes(open), wrong.descriptors));
    const auto refused = peer.ReadUntilControl(v1::Control::kLaneRefused);
    ASSERT_TRUE(refused.has_value()) << served_->Told();
    EXPECT_NE(refused->control.lane_refused().reason(), "");
    peer.SendControl(MatchOf(1, served_->inline_id(), 0));
    peer.SendFrame(0, 0, NoteFrame(1));
    EXPECT_TRUE(served_->HasGotFrom(name)) << served_->Told();
    EXPECT_EQ(Fallback(name),
              absl::StrCat("link served -> ", name,
                           " (shm): lane 0 of the peer is not shared: ",
                           refused->control.lane_refused().reason()));
  }
  served_->ExpectServesOthers();
  for (int tries = 0; OpenDescriptors() > before && tries < 1000; ++tries) {
    served_->ExpectServesOthers();
  }
  EXPECT_LE(OpenDescriptors(), before);
}

// Otherwise all that is in it could be handed out a thousand times, without a
// pause, when the connection ends.
TEST_F(HostilePublisherTest, RingOfTwoLanesIsReadForOne) {
  Publisher hostile = Start();
  const auto opens = [&](uint32_t lane, const std::vector<int>& descriptors) {
    v1::Control open =
        LaneOpenOf(lane, served_->queued_id(), kRingBytes, /*position=*/0);
    open.mutable_lane_open()->set_shared_identity(kIdentity);
    open.mutable_lane_open()->set_control_number(kStamp);
    ASSERT_TRUE(
        hostile.peer.SendWithDescriptors(ControlBytes(open), descriptors));
  };
  const RawLane other(kRingBytes, kIdentity);
  opens(1, {hostile.lane->descriptors()[0], other.descriptors()[1]});
  const auto refused = hostile.peer.ReadUntilControl(v1::Control::kLaneRefused);
  ASSERT_TRUE(refused.has_value()) << served_->Told();
  EXPECT_EQ(refused->control.lane_refused().lane(), 1u);
  EXPECT_EQ(refused->control.lane_refused().reason(),
            "the ring is another lane's, too");
  // The first lane goes on, and a ring of its own is no reason for a refusal.
  opens(2, other.descriptors());
  hostile.lane->Write(0, NoteFrame(1), kStamp);
  Ring(hostile.peer);
  EXPECT_TRUE(served_->HasGotFrom(hostile.name)) << served_->Told();
  EXPECT_EQ(Fallback(hostile.name),
            absl::StrCat("link served -> ", hostile.name,
                         " (shm): lane 1 of the peer is not shared: ",
                         "the ring is another lane's, too"));
}

TEST_F(HostilePublisherTest, TooManyDescriptorsAreClosed) {
  RawLane lane(kRingBytes, kIdentity);
  served_->ExpectServesOthers();
  const size_t before = OpenDescriptors();
  {
    RawPeer peer = served_->Greeted("generous", 1, /*shares=*/true);
    std::vector<int> many = lane.descriptors();
    for (int i = 0; i < 8; ++i) many.push_back(many[i % 2]);
    v1::Control open = LaneOpenOf(0, 0, kRingBytes);
    open.mutable_lane_open()->set_shared_identity(kIdentity);
    open.mutable_lane_open()->set_control_number(1);
    ASSERT_TRUE(peer.SendWithDescriptors(ControlBytes(open), many));
    peer.SendControl(DeclareOf(1));
    peer.SendControl(MatchOf(1, served_->inline_id(), 0));
    lane.Write(0, NoteFrame(1), kStamp);
    Ring(peer);
    EXPECT_TRUE(served_->HasGotFrom("generous")) << "two of them are enough";
  }
  // None of these descriptors belongs to a lane.
  RawPeer flood = served_->Greeted("flood", 1, /*shares=*/true);
  v1::Control doorbell;
  doorbell.mutable_doorbell();
  for (int i = 0; i < 1000; ++i) {
    if (!flood.SendWithDescriptors(ControlBytes(doorbell),
                                   lane.descriptors())) {
      break;
    }
  }
  EXPECT_TRUE(flood.Closed());
  flood.Close();
  for (int tries = 0; OpenDescriptors() > before && tries < 1000; ++tries) {
    served_->ExpectServesOthers();
  }
  EXPECT_LE(OpenDescriptors(), before);
}

TEST_F(HostilePublisherTest, LinkWhoseMemoryWasCorruptStartsAnew) {
  ExpectNoticed({"no frame starts"},
                [](RawLane& lane, uint64_t at) { lane.RingWord(at) = 7; });
  // The same process is back: the node does not go on with what it had there.
  const std::string name = absl::StrCat("hostile-", hostiles_);
  RawPeer again(served_->path());
  v1::Hello hello = HelloFrom(name);
  hello.set_shared_memory(true);
  const v1::Control answer = again.SayHello(hello);
  ASSERT_TRUE(answer.has_hello());
  EXPECT_EQ(answer.hello().resume_incarnation(), 0u);
  EXPECT_EQ(answer.hello().resume_size(), 0);
}

}  // namespace
}  // namespace mycelium::test
