#include "mycelium/bus/shared_memory_transport.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/notification.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;
using ::mycelium::test::ShortTempDir;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(20);

class SharedMemoryTransportTest : public ::testing::Test {
 protected:
  static BusOptions Quiet() {
    BusOptions options;
    options.log = [](LogLevel, absl::string_view) {};
    return options;
  }
  std::unique_ptr<SharedMemoryTransport> Create(
      std::optional<Digest> digest = std::nullopt) {
    auto made =
        SharedMemoryTransport::Create(path_, digest, kShmCapacity, Quiet());
    EXPECT_TRUE(made.ok()) << made.status();
    return *std::move(made);
  }
  std::unique_ptr<SharedMemoryTransport> Open(
      std::optional<Digest> digest = std::nullopt, size_t capacity = 0) {
    auto made = SharedMemoryTransport::Open(path_, digest, capacity, Quiet());
    EXPECT_TRUE(made.ok()) << made.status();
    return *std::move(made);
  }
  static Note MakeNote(uint64_t id) {
    Note note;
    note.set_id(id);
    return note;
  }
  static uint64_t Next(Subscriber<Note>& from) {
    auto note = from.Receive(kLong);
    EXPECT_TRUE(note.ok()) << note.status();
    return note.ok() ? (*note)->id() : 0;
  }
  static Ledger LedgerOf(SharedMemoryTransport& a, SharedMemoryTransport& b) {
    Ledger sum;
    for (const FlowReport& flow : a.bus().FlowReports()) sum += flow.ledger;
    for (const FlowReport& flow : b.bus().FlowReports()) sum += flow.ledger;
    EXPECT_TRUE(sum.Balances());
    return sum;
  }

  const ShortTempDir dir_;
  const std::string path_ = dir_.file("service.shm");
};

TEST_F(SharedMemoryTransportTest, PathNeedNotBeUtf8) {
  const std::string path = dir_.file("caf\xe9.shm");
  auto creator =
      SharedMemoryTransport::Create(path, std::nullopt, kShmCapacity, Quiet());
  ASSERT_TRUE(creator.ok()) << creator.status();
  auto opener =
      SharedMemoryTransport::Open(path, std::nullopt, /*capacity=*/0, Quiet());
  ASSERT_TRUE(opener.ok()) << opener.status();
  EXPECT_EQ((*opener)->WaitForPeer(kLong), absl::OkStatus());
  EXPECT_EQ((*opener)->path(), path);
  ASSERT_EQ((*opener)->bus().LinkReports().size(), 1u);
  EXPECT_EQ((*opener)->bus().LinkReports()[0].peer,
            absl::StrCat("shm:", dir_.file("caf\\xe9.shm")));
}

TEST_F(SharedMemoryTransportTest, BothEndsPublishAndNobodyHearsHimself) {
  auto creator = Create();
  auto opener = Open();
  ASSERT_TRUE(opener->WaitForPeer(kLong).ok());
  ASSERT_TRUE(creator->WaitForPeer(kLong).ok());
  auto at_creator = creator->Subscriber<Note>();
  auto at_opener = opener->Subscriber<Note>();
  auto from_creator = creator->Publisher<Note>();
  auto from_opener = opener->Publisher<Note>();
  ASSERT_TRUE(from_creator->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(from_opener->WaitForSubscribers(1, kLong).ok());
  EXPECT_EQ(from_creator->subscriber_count(), 1u);
  EXPECT_EQ(from_opener->subscriber_count(), 1u);
  ASSERT_TRUE(from_creator->Publish(MakeNote(1)).ok());
  ASSERT_TRUE(from_opener->Publish(MakeNote(2)).ok());
  EXPECT_EQ(Next(*at_opener), 1u);
  EXPECT_EQ(Next(*at_creator), 2u);
  EXPECT_EQ(*at_opener->TryReceive(), nullptr);
  EXPECT_EQ(*at_creator->TryReceive(), nullptr);
  ASSERT_TRUE(creator->Flush(kLong).ok());
  ASSERT_TRUE(opener->Flush(kLong).ok());
  EXPECT_EQ(*at_opener->TryReceive(), nullptr);
  EXPECT_EQ(*at_creator->TryReceive(), nullptr);
  EXPECT_EQ(creator->bus().LinkReports()[0].transport, "shm");
  const Ledger sum = LedgerOf(*creator, *opener);
  EXPECT_EQ(sum.accepted, 2u);
  EXPECT_EQ(sum.delivered, 2u);
  EXPECT_EQ(creator->Stats().traffic.frames_sent, 1u);
}

TEST_F(SharedMemoryTransportTest, HandlersHearTheOtherEnd) {
  auto creator = Create();
  auto opener = Open();
  std::atomic<int> own{0}, other{0};
  auto at_creator =
      creator->Subscribe<Note>([&](const Note&, const MessageInfo&) { ++own; });
  auto at_opener = opener->Subscribe<Note>(
      [&](const Note&, const MessageInfo&) { ++other; });
  auto publisher = creator->Publisher<Note>();
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(publisher->Publish(MakeNote(1)).ok());
  ASSERT_TRUE(creator->Flush(kLong).ok());
  EXPECT_EQ(other, 1);
  EXPECT_EQ(own, 0);
  EXPECT_EQ(LedgerOf(*creator, *opener).delivered, 1u);
}

TEST_F(SharedMemoryTransportTest, SecondCreateIsAlreadyExists) {
  auto creator = Create();
  EXPECT_EQ(SharedMemoryTransport::Create(path_).status().code(),
            absl::StatusCode::kAlreadyExists);
  creator.reset();
  EXPECT_TRUE(SharedMemoryTransport::Create(path_).ok());
}

TEST_F(SharedMemoryTransportTest, OpenerWithAnotherDigestHearsWhy) {
  auto creator = Create(Digest::Of("ours"));
  auto opener = Open(Digest::Of("theirs"));
  const absl::Status refused = opener->WaitForPeer(kLong);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.message(), HasSubstr(Digest::Of("ours").ToHex()));
  EXPECT_THAT(refused.message(), HasSubstr(Digest::Of("theirs").ToHex()));
  // Counted once the refusal is on its way, which the opener may hear first.
  const absl::Time end = absl::Now() + kLong;
  while (creator->Stats().handshake_failures == 0 && absl::Now() < end) {
    std::this_thread::yield();
  }
  EXPECT_GE(creator->Stats().handshake_failures, 1u);
}

TEST_F(SharedMemoryTransportTest, OpenerMayInsistOnTheCapacity) {
  auto creator = Create();
  auto other = Open(std::nullopt, kShmCapacity / 2);
  const absl::Status refused = other->WaitForPeer(kLong);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.message(), HasSubstr("1048576"));
  auto same = Open(std::nullopt, kShmCapacity);
  EXPECT_TRUE(same->WaitForPeer(kLong).ok());
}

TEST_F(SharedMemoryTransportTest, WaitForPeerSaysWhyThereIsNone) {
  auto opener = Open();
  const absl::Status late = opener->WaitForPeer(absl::Milliseconds(1));
  EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(late.message(), HasSubstr(path_));
  auto creator = Create();
  EXPECT_TRUE(opener->WaitForPeer(kLong).ok());
}

// A callback that runs in the call, under poll = kCaller.
TEST_F(SharedMemoryTransportTest, WhatWaitsForAPeerMayEndMeanwhile) {
  test::Notification gone;
  BusOptions seen = Quiet();
  seen.on_connection = [&](const ConnectionEvent& event) {
    if (event.state == ConnectionEvent::State::kGone) gone.Notify();
  };
  std::unique_ptr<SharedMemoryTransport> opener;
  BusOptions polling = Quiet();
  polling.poll = PollMode::kCaller;
  polling.on_connection = [&](const ConnectionEvent&) { opener.reset(); };
  opener = *SharedMemoryTransport::Open(path_, std::nullopt, 0, polling);
  // Not before, so that it does not connect in Open().
  auto creator =
      SharedMemoryTransport::Create(path_, std::nullopt, kShmCapacity, seen);
  ASSERT_TRUE(creator.ok()) << creator.status();
  (void)opener->WaitForPeer(kLong);
  EXPECT_EQ(opener, nullptr);
  EXPECT_TRUE(gone.WaitForNotificationWithTimeout(kLong));
}

TEST_F(SharedMemoryTransportTest, PathsHaveOneTo107Bytes) {
  for (const std::string& bad : {std::string(), std::string(108, 'p')}) {
    EXPECT_EQ(SharedMemoryTransport::Create(bad).status().code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(SharedMemoryTransport::Open(bad).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(SharedMemoryTransportTest, CloseOfOneEndEndsItsShareOfTheLedger) {
  auto creator = Create();
  auto opener = Open();
  auto publisher = opener->Publisher<Note>();
  auto pull = creator->Subscriber<Note>();
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(publisher->Publish(MakeNote(1)).ok());
  EXPECT_EQ(Next(*pull), 1u);
  (void)pull->TryReceive();
  EXPECT_TRUE(opener->Shutdown(kLong).ok());
  EXPECT_EQ(publisher->Publish(MakeNote(2)).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(opener->WaitForPeer(kLong).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(LedgerOf(*creator, *opener).delivered, 1u);
}

}  // namespace
}  // namespace mycelium
