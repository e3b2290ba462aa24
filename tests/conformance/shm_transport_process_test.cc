// SharedMemoryTransport between processes, of which some are killed.
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/conformance/peer_process.h"
#include "tests/conformance/process_fixture.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

class ShmTransportProcessTest : public ::testing::Test {
 protected:
  std::unique_ptr<PeerProcess> Start(const std::string& how, int run) {
    return std::make_unique<PeerProcess>(
        std::vector<std::string>{absl::StrCat("--", how, "=", path_),
                                 absl::StrCat("--run=", run)},
        dir_.file(absl::StrCat("page", ++pages_)), "shm_peer");
  }
  std::unique_ptr<PeerProcess> StartReady(const std::string& how, int run) {
    auto peer = Start(how, run);
    peer->Await("ready");
    return peer;
  }

  // `from` publishes to `to`, which has nothing of that run yet.
  static void Send(PeerProcess& from, int run, PeerProcess& to,
                   uint64_t count) {
    EXPECT_EQ(from.Ask("wait", "waited"), "OK");
    EXPECT_EQ(from.Ask(absl::StrCat("publish ", count), "published"), "OK");
    EXPECT_EQ(to.Ask(absl::StrCat("await ", run, " ", count), "reached"), "");
    EXPECT_EQ(from.Ask("flush", "flushed"), "OK");
    const ReceivedIds& ids = to.counts().received[run];
    EXPECT_EQ(ids.count, count);
    EXPECT_EQ(ids.gaps, 0u);
    EXPECT_EQ(ids.duplicates, 0u);
  }

  // Checks an end that has nothing in flight and lost nothing.
  static void ExpectCounted(PeerProcess& peer, uint64_t accepted,
                            uint64_t delivered) {
    const Counted counted = CountedBy(peer);
    EXPECT_EQ(counted.accepted, accepted);
    EXPECT_EQ(counted.delivered, delivered);
    EXPECT_EQ(counted.dropped + counted.in_flight, 0u);
  }

  // No end has got a message of its own.
  static void ExpectNoEcho(PeerProcess& peer, int run) {
    EXPECT_EQ(peer.counts().received[run].count, 0u);
  }

  // accepted = delivered + dropped + in flight, over both ends. A killed
  // process left its accepted count in the page.
  static void ExpectBalance(PeerProcess& a, PeerProcess& b) {
    const Counted ours = CountedBy(a), theirs = CountedBy(b);
    EXPECT_EQ(ours.accepted, a.counts().accepted);
    EXPECT_EQ(theirs.accepted, b.counts().accepted);
    EXPECT_EQ(ours.accepted + theirs.accepted,
              ours.delivered + theirs.delivered + ours.dropped +
                  theirs.dropped + ours.in_flight + theirs.in_flight);
  }

  const ShortTempDir dir_;
  const std::string path_ = dir_.file("service.shm");
  int pages_ = 0;
};

TEST_F(ShmTransportProcessTest, BothEndsPublishAndNobodyHearsHimself) {
  auto creator = StartReady("create", 1);
  auto opener = StartReady("open", 2);
  Send(*creator, 1, *opener, 500);
  Send(*opener, 2, *creator, 500);
  ExpectNoEcho(*creator, 1);
  ExpectNoEcho(*opener, 2);
  ExpectBalance(*creator, *opener);
}

TEST_F(ShmTransportProcessTest, OpenerMayComeFirst) {
  auto opener = StartReady("open", 2);
  auto creator = StartReady("create", 1);
  Send(*opener, 2, *creator, 100);
  Send(*creator, 1, *opener, 100);
  ExpectBalance(*creator, *opener);
}

TEST_F(ShmTransportProcessTest, SecondCreatorIsRefusedWhileTheFirstLives) {
  auto creator = StartReady("create", 1);
  auto second = Start("create", 2);
  EXPECT_EQ(second->Await("failed"), "ALREADY_EXISTS");
  EXPECT_EQ(second->AwaitEnd(), "exit 1");
}

TEST_F(ShmTransportProcessTest, NextOpenerJoinsAfterTheLastWasKilled) {
  auto creator = StartReady("create", 1);
  auto first = StartReady("open", 2);
  Send(*first, 2, *creator, 100);
  first->Kill();
  auto second = StartReady("open", 3);
  Send(*second, 3, *creator, 100);
  EXPECT_EQ(creator->counts().received[2].count, 100u);
  // Its messages may arrive before its subscription, which it sends on another
  // thread. Until then everything goes to the lane of the process that died.
  const absl::Time end = absl::Now() + absl::Seconds(20);
  while (second->counts().received[1].count == 0 && absl::Now() < end) {
    EXPECT_EQ(creator->Ask("publish 1", "published"), "OK");
  }
  EXPECT_EQ(creator->Ask("publish 50", "published"), "OK");
  EXPECT_EQ(second->Ask("await 1 50", "reached"), "");
  EXPECT_EQ(creator->Ask("flush", "flushed"), "OK");
  const ReceivedIds& ids = second->counts().received[1];
  EXPECT_EQ(ids.last, creator->counts().accepted);
  EXPECT_EQ(ids.gaps + ids.duplicates, 0u);
  ExpectCounted(*second, /*accepted=*/100, /*delivered=*/ids.count);
  const Counted sent = CountedBy(*creator);
  EXPECT_EQ(sent.delivered, 200u);
  EXPECT_EQ(sent.in_flight, 0u);
  EXPECT_EQ(sent.dropped, sent.gone);
  EXPECT_EQ(sent.accepted, ids.count + sent.gone);
}

TEST_F(ShmTransportProcessTest, NextCreatorTakesOverAfterTheLastWasKilled) {
  auto first = StartReady("create", 1);
  auto opener = StartReady("open", 2);
  Send(*opener, 2, *first, 100);
  first->Kill();
  auto second = StartReady("create", 3);
  Send(*second, 3, *opener, 100);
  EXPECT_EQ(opener->Ask("publish 100", "published"), "OK");
  EXPECT_EQ(second->Ask("await 2 100", "reached"), "");
  EXPECT_EQ(opener->Ask("flush", "flushed"), "OK");
  const ReceivedIds& ids = second->counts().received[2];
  EXPECT_EQ(ids.first, 101u);
  EXPECT_EQ(ids.count, 100u);
  // The deliveries of the first creator are in its page.
  const Counted sent = CountedBy(*opener);
  EXPECT_EQ(sent.accepted, 200u);
  EXPECT_EQ(sent.delivered, 100u);
  EXPECT_EQ(sent.dropped + sent.in_flight, 0u);
  EXPECT_EQ(first->counts().received[2].count, 100u);
  ExpectCounted(*second, /*accepted=*/100, /*delivered=*/100);
}

TEST_F(ShmTransportProcessTest, WhatAKilledPublisherCommittedIsDelivered) {
  auto creator = StartReady("create", 1);
  auto opener = StartReady("open", 2);
  EXPECT_EQ(opener->Ask("wait", "waited"), "OK");
  creator->Stop();
  EXPECT_EQ(opener->Ask("publish 1000", "published"), "OK");
  opener->Kill();
  creator->Resume();
  EXPECT_EQ(creator->Ask("await 2 1000", "reached"), "");
  const ReceivedIds& ids = creator->counts().received[2];
  EXPECT_EQ(ids.count, opener->counts().accepted);
  EXPECT_EQ(ids.gaps + ids.duplicates, 0u);
  // The last handler may not have returned yet, and its message counts as
  // delivered only then. The next publisher's flush waits for it.
  auto next = StartReady("open", 3);
  Send(*next, 3, *creator, 1);
  EXPECT_EQ(CountedBy(*creator).delivered, 1001u);
}

TEST_F(ShmTransportProcessTest, SeveralOpenersTalkWithTheCreatorOnly) {
  auto creator = StartReady("create", 1);
  auto one = StartReady("open", 2);
  auto other = StartReady("open", 3);
  Send(*one, 2, *creator, 100);
  Send(*other, 3, *creator, 100);
  EXPECT_EQ(creator->Ask("publish 100", "published"), "OK");
  EXPECT_EQ(one->Ask("await 1 100", "reached"), "");
  EXPECT_EQ(other->Ask("await 1 100", "reached"), "");
  EXPECT_EQ(creator->Ask("flush", "flushed"), "OK");
  ExpectNoEcho(*one, 3);
  ExpectNoEcho(*other, 2);
  for (PeerProcess* const opener : {one.get(), other.get()}) {
    const ReceivedIds& ids = opener->counts().received[1];
    EXPECT_EQ(ids.count, 100u);
    EXPECT_EQ(ids.gaps + ids.duplicates, 0u);
    ExpectCounted(*opener, /*accepted=*/100, /*delivered=*/100);
  }
  // The creator published to two subscriptions.
  ExpectCounted(*creator, /*accepted=*/200, /*delivered=*/200);
}

TEST_F(ShmTransportProcessTest, KilledProcessesLeaveTheSocketAndItsLockOnly) {
  for (int i = 0; i < 5; ++i) {
    auto creator = StartReady("create", 1);
    auto opener = StartReady("open", 2);
    Send(*creator, 1, *opener, 10);
    ExpectCounted(*creator, /*accepted=*/10, /*delivered=*/0);
    ExpectCounted(*opener, /*accepted=*/0, /*delivered=*/10);
    creator->Kill();
    opener->Kill();
  }
  for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
    const std::string name = entry.path().filename().string();
    EXPECT_TRUE(absl::StartsWith(name, "service.shm") ||
                absl::StartsWith(name, "page"))
        << name;
  }
}

}  // namespace
}  // namespace mycelium::test
