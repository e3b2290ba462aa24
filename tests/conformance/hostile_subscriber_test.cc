// What a subscriber may do to memory that it shares, and what a process does
// that scribbles over all of it.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/conformance/hostile_memory_fixture.h"

namespace mycelium::test {
namespace {

class HostileSubscriberTest : public HostileMemoryTest {
 protected:
  struct Subscriber {
    std::string name;
    RawPeer peer;
    std::unique_ptr<RawLane> lane;
    uint64_t identity;
    uint64_t position;
    uint32_t id;  // The lane's.
  };

  // Sends it that many notes in shared memory.
  Subscriber Start(int notes, const std::string& overflow = "",
                   const std::string& name_wanted = "",
                   uint64_t incarnation = 1) {
    const std::string name =
        name_wanted.empty() ? absl::StrCat("liar-", ++hostiles_) : name_wanted;
    Subscriber started{
        name,    served_->Greeted(name, incarnation, /*shares=*/true),
        nullptr, 0,
        0,       0};
    v1::Control subscribe = SubscribeOf(1);
    subscribe.mutable_subscribe()->set_overflow(overflow);
    subscribe.mutable_subscribe()->set_delivery(v1::Subscribe::QUEUED);
    if (!overflow.empty()) subscribe.mutable_subscribe()->set_depth(4);
    started.peer.SendControl(subscribe);
    const auto open = started.peer.ReadUntilControl(v1::Control::kLaneOpen);
    EXPECT_TRUE(open.has_value()) << served_->Told();
    if (!open.has_value()) return started;
    const v1::LaneOpen& said = open->control.lane_open();
    started.identity = said.shared_identity();
    started.position = said.position();
    started.id = said.lane();
    const std::vector<int> descriptors = started.peer.TakeDescriptors();
    EXPECT_EQ(descriptors.size(), 2u);
    started.lane =
        std::make_unique<RawLane>(descriptors, said.capacity_bytes());
    EXPECT_TRUE(started.lane->ok());
    EXPECT_EQ(started.lane->identity(), started.identity);
    for (int id = 1; id <= notes; ++id) Publish(id);
    return started;
  }

  void Publish(uint64_t id) {
    const absl::Status sent = served_->publisher().Publish(MakeNote(id));
    EXPECT_TRUE(sent.ok()) << sent;
  }

  void ExpectNoticed(const std::vector<std::string>& reasons,
                     const std::string& overflow,
                     const std::function<void(RawLane&)>& misbehave) {
    SCOPED_TRACE(reasons[0]);
    Subscriber hostile = Start(3, overflow);
    misbehave(*hostile.lane);
    Look();
    if (!overflow.empty()) Publish(4);
    ExpectDataLoss(hostile.name, reasons);
    EXPECT_TRUE(hostile.peer.Closed());
  }
};

TEST_F(HostileSubscriberTest, PositionsByHandGiveRoomBack) {
  Subscriber honest = Start(3);
  uint64_t at = 0;
  for (uint64_t sequence = 1; sequence <= 3; ++sequence) {
    const auto frame_bytes =
        static_cast<uint32_t>(honest.lane->RingWord(at).load());
    EXPECT_GT(frame_bytes, sizeof(FrameHeader));
    at += AlignedFrameBytes(frame_bytes);
  }
  honest.lane->released() = at;
  Ring(honest.peer);
  EXPECT_TRUE(served_->bus().Flush(absl::Seconds(20)).ok());
}

TEST_F(HostileSubscriberTest, ReleaseOfWhatWasNotPublishedIsNoticed) {
  for (const uint64_t released :
       {uint64_t{1}, uint64_t{8}, uint64_t{4096}, uint64_t{12345},
        uint64_t{1} << 40, ~uint64_t{0}}) {
    ExpectNoticed(
        {"lane 1 in shared memory", absl::StrCat("`released` is ", released),
         "a multiple of 64 from 0 to"},
        "", [&](RawLane& lane) { lane.released() = released; });
  }
}

TEST_F(HostileSubscriberTest, ReleaseThatGoesBackIsNoticed) {
  Subscriber hostile = Start(3);
  hostile.lane->released() = 128;
  Look();
  hostile.lane->released() = 64;
  Look();
  ExpectDataLoss(hostile.name,
                 {"`released` is 64; a multiple of 64 from 128 to"});
}

TEST_F(HostileSubscriberTest, LossyCursorThatNoFrameHasIsNoticed) {
  for (const uint64_t next :
       {uint64_t{1}, uint64_t{32}, uint64_t{4096}, ~uint64_t{0}}) {
    ExpectNoticed({"lane 1 in shared memory", absl::StrCat("`next` is ", next),
                   "expected"},
                  "drop_oldest", [&](RawLane& lane) { lane.next() = next; });
  }
}

TEST_F(HostileSubscriberTest, LinkWhoseReleaseWasCorruptStartsAnew) {
  ExpectNoticed({"`released` is 8000"}, "",
                [](RawLane& lane) { lane.released() = 8000; });
  const std::string name = absl::StrCat("liar-", hostiles_);
  RawPeer again(served_->path());
  v1::Hello hello = HelloFrom(name);
  hello.set_shared_memory(true);
  const v1::Control answer = again.SayHello(hello);
  ASSERT_TRUE(answer.has_hello());
  EXPECT_EQ(answer.hello().resume_incarnation(), 0u);
  // It says what it wants as before, and gets all three.
  v1::Control subscribe = SubscribeOf(1);
  subscribe.mutable_subscribe()->set_delivery(v1::Subscribe::QUEUED);
  again.SendControl(subscribe);
  const auto open = again.ReadUntilControl(v1::Control::kLaneOpen);
  ASSERT_TRUE(open.has_value());
  EXPECT_EQ(open->control.lane_open().position(), 0u);
  EXPECT_EQ(open->control.lane_open().redelivered_until(), 4u);
  RawLane lane(again.TakeDescriptors(),
               open->control.lane_open().capacity_bytes());
  ASSERT_TRUE(lane.ok());
  EXPECT_EQ(lane.released(), 0u);
}

TEST_F(HostileSubscriberTest, ReasonOfARefusalIsBoundedAndHarmless) {
  Subscriber hostile = Start(1);
  for (const char* begin : {"\x1b[2J", "again\n"}) {
    v1::Control refused;
    refused.mutable_lane_refused()->set_lane(hostile.id);
    refused.mutable_lane_refused()->set_reason(begin +
                                               std::string(600'000, 'x'));
    ASSERT_TRUE(hostile.peer.SendControl(refused));
  }
  ASSERT_TRUE(served_->WasTold("the peer cannot map lane"));
  std::string fallback;
  for (const LinkReport& link : served_->bus().LinkReports()) {
    if (link.peer == hostile.name) fallback = link.fallback;
  }
  EXPECT_THAT(fallback, ::testing::HasSubstr("the peer cannot map lane"));
  EXPECT_LE(fallback.size(), 1024u);
  EXPECT_EQ(fallback.find('\x1b'), std::string::npos);
  // What was in the memory goes over the socket.
  const auto data = hostile.peer.ReadUntil([](const RawPeer::Record& record) {
    return record.header.kind == static_cast<uint8_t>(RecordKind::kData);
  });
  EXPECT_TRUE(data.has_value());
}

// The subscriber has the positions all the same.
TEST_F(HostileSubscriberTest,
       WhatItWritesToALossyLaneThatItRefusedDoesNothing) {
  Subscriber hostile = Start(1, "drop_oldest");
  v1::Control refused;
  refused.mutable_lane_refused()->set_lane(hostile.id);
  ASSERT_TRUE(hostile.peer.SendControl(refused));
  const auto is_data = [](const RawPeer::Record& record) {
    return record.header.kind == static_cast<uint8_t>(RecordKind::kData);
  };
  ASSERT_TRUE(hostile.peer.ReadUntil(is_data).has_value());
  hostile.lane->next() = 6'400;
  hostile.lane->held() = 0;
  for (int id = 2; id <= 4; ++id) {
    Look();
    Publish(id);
    ASSERT_TRUE(hostile.peer.ReadUntil(is_data).has_value()) << id;
  }
}

TEST_F(HostileSubscriberTest, NextProcessIsNotTakenInByWhatWasWritten) {
  Subscriber hostile = Start(3);
  std::memset(hostile.lane->positions(), 0, RawLane::kPositionsBytes);
  hostile.peer.Close();
  ASSERT_TRUE(
      served_->EventWith(ConnectionEvent::State::kDisconnected, hostile.name)
          .has_value());
  Subscriber next = Start(0, "", hostile.name, /*incarnation=*/2);
  EXPECT_NE(next.identity, 0u);
  EXPECT_EQ(next.identity, hostile.identity);
  // A process that still has the old positions writes to memory that nobody
  // reads.
  hostile.lane->released() = 64;
  EXPECT_EQ(next.lane->released(), 0u);
  EXPECT_EQ(next.lane->held(), ~uint64_t{0});
}

TEST_F(HostileSubscriberTest, WhatItHoldsCanNotBeChanged) {
  Subscriber hostile = Start(3);
  const int ring = hostile.lane->descriptors()[0];
  const int positions = hostile.lane->descriptors()[1];
  const size_t bytes = hostile.lane->ring_bytes();
  for (const int fd : {ring, positions}) {
    const int again =
        open(absl::StrCat("/proc/self/fd/", fd).c_str(), O_RDWR | O_CLOEXEC);
    for (const int same : {fd, again}) {
      if (same < 0) continue;
      EXPECT_NE(ftruncate(same, 0), 0);
      EXPECT_NE(ftruncate(same, 4096 * 4096), 0);
      EXPECT_NE(fcntl(same, F_ADD_SEALS, F_SEAL_WRITE), 0);
    }
    if (again >= 0) close(again);
  }
  EXPECT_EQ(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0),
            MAP_FAILED);
  EXPECT_NE(mprotect(hostile.lane->ring(), bytes, PROT_READ | PROT_WRITE), 0);
  EXPECT_LT(pwrite(ring, "x", 1, 0), 0);
  EXPECT_NE(fallocate(ring, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                      static_cast<off_t>(bytes)),
            0);
  const int again =
      open(absl::StrCat("/proc/self/fd/", ring).c_str(), O_RDWR | O_CLOEXEC);
  if (again >= 0) {
    EXPECT_LT(pwrite(again, "x", 1, 0), 0);
    EXPECT_EQ(
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0),
        MAP_FAILED);
    close(again);
  }
  Publish(4);
}

// No seal keeps a peer that may write there from doing that.
TEST_F(HostileSubscriberTest, PositionsThatItTakesOutReadAsZero) {
  Subscriber hostile = Start(3);
  hostile.lane->released() = 64;
  Look();
  ASSERT_EQ(fallocate(hostile.lane->descriptors()[1],
                      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                      RawLane::kPositionsBytes),
            0);
  Look();
  ExpectDataLoss(hostile.name,
                 {"`released` is 0; a multiple of 64 from 64 to"});
}

TEST_F(HostileSubscriberTest, PositionsThatChangeAllTheTimeHangNobody) {
  for (const std::string overflow : {"", "drop_oldest", "drop_newest"}) {
    SCOPED_TRACE(overflow);
    Subscriber hostile = Start(0, overflow);
    std::atomic<bool> stop{false};
    std::thread scribbler([&] {
      uint64_t random = 88172645463325252;
      while (!stop) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        // Values that are close enough to be believed at times.
        hostile.lane->released() =
            random % 4096 / kFrameAlignment * kFrameAlignment;
        hostile.lane->next() =
            random % 4096 / kFrameAlignment * kFrameAlignment;
        hostile.lane->held() =
            random % 4096 / kFrameAlignment * kFrameAlignment;
        hostile.lane->wake_at() = random % 4096;
        hostile.lane->sleeping() = random & 3;
        hostile.lane->taken() = random % 4096;
      }
    });
    for (int id = 1; id <= 2000; ++id) {
      (void)served_->publisher().Publish(MakeNote(id));
      Look();
    }
    served_->ExpectServesOthers();
    stop = true;
    scribbler.join();
    ExpectDataLoss(hostile.name, {"lane 1 in shared memory"});
  }
}

// ---------------------------------------------------------------------------
// What a process scribbles

class ScribblerTest : public HostileMemoryTest,
                      public ::testing::WithParamInterface<std::string> {};

TEST_P(ScribblerTest, HarmsNobodyAndIsReported) {
  for (int seed = 1; seed <= 3; ++seed) {
    const std::string command = absl::StrCat(
        getenv("TEST_SRCDIR"), "/", getenv("TEST_WORKSPACE"),
        "/tests/conformance/hostile_process --path=", served_->path(),
        " --role=", GetParam(), " --seed=", seed,
        " --lives=8 --inline=", served_->inline_id());
    std::atomic<bool> done{false};
    int status = -1;
    std::thread process([&] {
      std::FILE* const output = popen(command.c_str(), "r");
      char line[256];
      while (std::fgets(line, sizeof line, output) != nullptr) {
        std::fputs(line, stdout);
      }
      status = pclose(output);
      done = true;
    });
    for (uint64_t id = 1; !done; ++id) {
      (void)served_->publisher().Publish(MakeNote(id));
      Look();
    }
    process.join();
    EXPECT_EQ(status, 0) << command;
    served_->ExpectServesOthers();
  }
  // With the lane, the position and what was expected there.
  EXPECT_TRUE(served_->WasTold("DATA_LOSS"));
  EXPECT_TRUE(served_->WasTold("in shared memory"));
  EXPECT_TRUE(served_->WasTold("expected"));
}

INSTANTIATE_TEST_SUITE_P(Roles, ScribblerTest,
                         ::testing::Values("publisher", "subscriber"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace mycelium::test
