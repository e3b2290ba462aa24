// Every overflow policy against everything that may happen to a subscriber,
// alone or beside two others, with one publishing thread or four. In each cell
// a writer and its readers have processes of their own.
//
// When the victim stands still, is out of reach, or is dead while lanes are
// kept, the test leaves it so until the publisher's side shows the policy's
// effect. planted_policy_test.sh shows that the tests notice another policy
// than the cell's.

#include <atomic>
#include <cstdlib>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "tests/conformance/process_fixture.h"

namespace mycelium::test {
namespace {

using Cell = std::tuple<std::string, std::string, int, int>;

constexpr uint64_t kSome = 200;
constexpr uint64_t kDepth = 8;
constexpr uint64_t kWindow = 2;
constexpr uint64_t kCallsMax = 20'000;  // Many times what fits into a lane.

class MatrixTest : public ProcessTest,
                   public ::testing::WithParamInterface<Cell> {
 protected:
  MatrixTest() {
    std::ofstream file(dir_.file("topology.toml"));
    // A publisher that waited for a lossy subscription would do so for longer
    // than any test.
    const bool may_wait =
        !is_lossy() || std::getenv("MYCELIUM_PLANTED_OVERFLOW") != nullptr;
    const bool retained = event_ != "killed" && event_ != "restarted_late";
    file << "socket_dir = \"" << dir_.path() << "\"\n" << NodeOf("a", "writer");
    for (int i = 0; i < subscribers_; ++i) {
      file << NodeOf(absl::StrCat("b", i), ServiceOf(i));
    }
    file << "[defaults]\ntransport = \"" << TransportUnderTest()
         << "\"\npublish_timeout = \"" << (may_wait ? "300ms" : "1h") << "\"\n"
         << "retain = \"" << (retained ? "20s" : "200ms") << "\"\n"
         << "lane_bytes = \"64KiB\"\n"
         << "[limits]\nframe_bytes_max = \"8KiB\"\nreconnect_max = \"50ms\"\n";
  }

  static std::string ServiceOf(int i) {
    return i == 0 ? "victim" : absl::StrCat("bystander", i);
  }

  std::unique_ptr<PeerProcess> StartReader(int i) {
    Flags flags = {"--service=" + ServiceOf(i), "--overflow=" + policy_,
                   absl::StrCat("--depth=", kDepth),
                   absl::StrCat("--window=", kWindow)};
    // Messages for it wait, so that it leaves some behind.
    if (i == 0 && (event_ == "slow" || event_ == "left")) {
      flags.push_back("--slow_us=50");
    }
    auto reader = Start("subscribe", 1, flags);
    reader->Await("ready");
    return reader;
  }

  void Begin() {
    writer_ =
        Start("publish", 1,
              {"--to=", "--watch=b0", absl::StrCat("--threads=", threads_)});
    writer_->Await("ready");
    for (int i = 0; i < subscribers_; ++i) {
      readers_.push_back(StartReader(i));
      writer_->Await(absl::StrCat("event connected b", i));
    }
    ASSERT_EQ(writer_->Ask(absl::StrCat("wait ", subscribers_), "waited"),
              "OK");
    if (streams_late()) {
      // A reader that has heard nothing yet would begin anew.
      EXPECT_EQ(writer_->Ask("publish 1", "published").substr(0, 2), "OK");
      EXPECT_EQ(writer_->Ask("flush", "flushed"), "OK");
      return;
    }
    writer_->Tell("stream");
    AwaitMore(*readers_[0]);
  }

  // Waits until some more messages of the writer's first thread reach the
  // reader; or, if the reader may have been disconnected meanwhile, until the
  // writer has more accepted.
  void AwaitMore(PeerProcess& reader) {
    const bool may_end = policy_ == "disconnect";
    PeerProcess& counts = may_end ? *writer_ : reader;
    const uint64_t goal =
        kSome + (may_end ? writer_->counts().accepted.load()
                         : reader.counts().received[1].count.load());
    counts.Ask(absl::StrCat("await ", goal), absl::StrCat("reached ", goal));
  }

  // The victim stays in a handler, until its messages do not fit any more.
  void HoldUntilThePolicySpeaks() {
    PeerProcess& victim = *readers_[0];
    victim.Tell("hold");
    (void)LedgerOf(victim);  // It obeys its lines in order.
    if (streams_late()) writer_->Tell("stream");
    victim.Await("held");
    AwaitThePolicy();
  }

  void RunEvent() {
    PeerProcess& victim = *readers_[0];
    if (event_ == "slow") {
      ASSERT_NO_FATAL_FAILURE(HoldUntilThePolicySpeaks());
      victim.Tell("release");
      AwaitEndOrMore();
    } else if (event_ == "stopped") {
      ASSERT_NO_FATAL_FAILURE(RunStopped());
    } else if (event_ == "disconnected") {
      ASSERT_NO_FATAL_FAILURE(RunDisconnected());
    } else if (event_ == "left") {
      ShutDown(victim);
      last_words_ = CountedOf(victim.Await("ledger"));
      writer_->Await("event gone b0");
    } else {
      if (event_ == "restarted_late") {
        victim.Stop();
        if (streams_late()) writer_->Tell("stream");
        ASSERT_NO_FATAL_FAILURE(AwaitThePolicy());
      }
      victim.Kill();
      writer_->Await("event disconnected b0");
      if (event_ != "restarted_soon") writer_->Await("event gone b0");
    }
    if (event_ == "restarted_soon") {
      ASSERT_NO_FATAL_FAILURE(RunRestartedSoon());
    }
    if (event_ == "restarted_late") {
      EXPECT_GT(LedgerOf(*writer_, ServiceOf(0)).gone, 0u);
      RestartVictim();
      AwaitMore(*readers_[0]);
      ASSERT_NO_FATAL_FAILURE(AwaitAfreshIfDisconnected());
    }
  }

  // At the start nothing is on its way, so that it is known what the victim
  // gets.
  void RunStopped() {
    PeerProcess& victim = *readers_[0];
    Quiesce();
    victim.Stop();
    const uint64_t received = ReceivedBy(victim);
    ReceivedIds& ids = victim.counts().received[1];
    const uint64_t last = ids.last;
    ids.first_gap = 0;  // It stands, so nobody else writes it.
    writer_->Tell("stream");
    ASSERT_NO_FATAL_FAILURE(AwaitThePolicy());
    // A reader goes on if nothing makes its writer wait.
    if (is_lossy() && subscribers_ > 1) AwaitMore(*readers_[1]);
    (void)writer_->Ask("stop", "stopped");
    const uint64_t kept = LedgerOf(*writer_, ServiceOf(0)).in_flight;
    ExpectKept(kept);
    victim.Resume();
    EXPECT_EQ(writer_->Ask("flush", "flushed"), "OK");
    EXPECT_EQ(ReceivedBy(victim), received + kept);
    if (policy_ == "drop_newest" && threads_ == 1) {
      // The victim has the oldest messages: those that were there when the
      // first one was dropped. Room that came later, when the socket took some
      // of them, is for later messages.
      EXPECT_GT(ids.last, last);
      if (ids.first_gap > 0) {
        EXPECT_GE(ids.first_gap, last + depth());
      }
    }
    ExpectTheNewest(victim);
    writer_->Tell("stream");
    AwaitEndOrMore();
  }

  // At the start the victim stays in a handler, so that it is known what it
  // gets.
  void RunDisconnected() {
    PeerProcess& victim = *readers_[0];
    ASSERT_NO_FATAL_FAILURE(HoldUntilThePolicySpeaks());
    (void)writer_->Ask("stop", "stopped");
    ExpectKept(LedgerOf(*writer_, ServiceOf(0)).in_flight);
    victim.Ask("cut", "cut");
    writer_->Await("event disconnected b0");
    victim.Tell("release");
    writer_->Await("event reconnected b0");
    EXPECT_EQ(writer_->Ask("flush", "flushed"), "OK");
    const Counted sent = LedgerOf(*writer_, ServiceOf(0));
    EXPECT_EQ(ReceivedBy(victim), sent.accepted - sent.dropped);
    ExpectTheNewest(victim);
    writer_->Tell("stream");
    AwaitEndOrMore();
  }

  void RunRestartedSoon() {
    if (streams_late()) writer_->Tell("stream");
    ASSERT_NO_FATAL_FAILURE(AwaitThePolicy());
    (void)writer_->Ask("stop", "stopped");
    const uint64_t kept = LedgerOf(*writer_, ServiceOf(0)).in_flight;
    ExpectKept(kept);
    RestartVictim();
    EXPECT_EQ(writer_->Ask("flush", "flushed"), "OK");
    PeerProcess& victim = *readers_[0];
    if (policy_ == "disconnect") {  // It had ended: nobody is to get it.
      EXPECT_EQ(ReceivedBy(victim), 0u);
      EXPECT_EQ(LedgerOf(*writer_, ServiceOf(0)).gone, kept);
    } else {
      EXPECT_EQ(ReceivedBy(victim), kept);
      ExpectTheNewest(victim);
    }
    if (is_lossy()) {
      EXPECT_LE(victim.counts().redelivered, window());
    }
    writer_->Tell("stream");
    AwaitMore(victim);
    ASSERT_NO_FATAL_FAILURE(AwaitAfreshIfDisconnected());
  }

  // The previous process's subscription had ended. This one gets something,
  // though it may fall behind at once.
  void AwaitAfreshIfDisconnected() {
    if (policy_ != "disconnect") return;
    const absl::Time end = absl::Now() + absl::Seconds(20);
    while (ReceivedBy(*readers_[0]) == 0) {
      ASSERT_LT(absl::Now(), end) << "the new process gets nothing";
      std::this_thread::yield();
    }
  }

  void RestartVictim() {
    first_life_ = std::move(readers_[0]);
    readers_[0] = StartReader(0);
    writer_->Await("event connected b0");
  }

  void Quiesce() {
    if (streams_late()) return;  // There is no stream yet.
    (void)writer_->Ask("stop", "stopped");
    EXPECT_EQ(writer_->Ask("flush", "flushed"), "OK");
    // The last message of the stream may be dropped, but not a message for an
    // empty lane.
    EXPECT_EQ(writer_->Ask("publish 1", "published").substr(0, 2), "OK");
    EXPECT_EQ(writer_->Ask("flush", "flushed"), "OK");
    EXPECT_EQ(readers_[0]->counts().received[1].last,
              writer_->counts().accepted_by[1]);
  }

  // Goes on publishing until the writer's counts show the effect of the
  // victim's policy.
  void AwaitThePolicy() {
    const Counted before = LedgerOf(*writer_, ServiceOf(0));
    PeerCounts& counts = writer_->counts();
    const RefusedByLane& refused = counts.refused;
    const bool is_away = event_ == "restarted_soon";
    const std::atomic<uint64_t>& refusals = is_away ? refused.away
                                            : policy_ == "fail"
                                                ? refused.at_once
                                                : refused.waited;
    const uint64_t refused_before = refusals;
    const uint64_t calls = counts.calls;
    const auto has_spoken = [&] {
      const uint64_t accepted = counts.accepted;  // Before the ledger's.
      const Counted now = LedgerOf(*writer_, ServiceOf(0));
      if (is_lossy()) return now.overflow > before.overflow;
      if (policy_ != "disconnect") return refusals > refused_before;
      return now.accepted < accepted;  // The others' is, or nobody's.
    };
    uint64_t goal = calls;
    do {
      ASSERT_LT(goal += 100, calls + kCallsMax)
          << policy_ << " does not show in what the publisher knows";
      writer_->Ask(absl::StrCat("await_calls ", goal),
                   absl::StrCat("called ", goal));
    } while (!has_spoken());
  }

  // For a victim that could not keep up: it goes on, or is told that its
  // subscription is over, after all that was accepted for it.
  void AwaitEndOrMore() {
    PeerProcess& victim = *readers_[0];
    if (policy_ != "disconnect") return AwaitMore(victim);
    const std::string status = victim.Await("ended");
    EXPECT_THAT(status, ::testing::StartsWith("RESOURCE_EXHAUSTED"));
    EXPECT_THAT(status, ::testing::HasSubstr("fell behind"));
    EXPECT_EQ(victim.counts().at_end,
              LedgerOf(*writer_, ServiceOf(0)).accepted);
  }

  // Checks the lane of a victim that stands still or is away.
  void ExpectKept(uint64_t kept) const {
    EXPECT_GT(kept, 0u);
    if (is_lossy()) {
      EXPECT_LE(kept, depth() + window());
    }
  }

  // For a reader to which nothing is on its way. The newest of all accepted
  // messages, which is the last of its run, is the last one that the reader
  // got. The messages that its lane keeps came before it without a gap.
  void ExpectTheNewest(PeerProcess& reader) const {
    if (policy_ != "latest" && policy_ != "drop_oldest") return;
    const PeerCounts& got = reader.counts();
    const PeerCounts& sent = writer_->counts();
    bool has_newest = false;
    for (size_t run = 1; run <= static_cast<size_t>(threads_); ++run) {
      has_newest |= sent.accepted_by[run] > 0 &&
                    got.received[run].last == sent.accepted_by[run];
    }
    EXPECT_TRUE(has_newest);
    if (threads_ > 1) return;
    EXPECT_LE(got.received[1].unbroken + depth(), sent.accepted_by[1] + 1);
  }

  void End() {
    (void)writer_->Ask("stop", "stopped");
    EXPECT_EQ(writer_->Ask("flush", "flushed"), "OK");
  }

  bool is_lossy() const {
    return policy_ == "drop_newest" || policy_ == "drop_oldest" ||
           policy_ == "latest";
  }
  uint64_t depth() const { return policy_ == "latest" ? 1 : kDepth; }
  uint64_t window() const { return policy_ == "latest" ? 1 : kWindow; }
  // Whether the event comes before the stream: an earlier stream might end the
  // victim's subscription before the event.
  bool streams_late() const {
    return policy_ == "disconnect" && event_ != "killed" && event_ != "left";
  }
  bool is_victim_gone() const { return event_ == "killed" || event_ == "left"; }

  static uint64_t ReceivedBy(PeerProcess& reader) {
    uint64_t count = 0;
    for (const ReceivedIds& ids : reader.counts().received) count += ids.count;
    return count;
  }

  // Checks that no message came twice or out of order, and that none is missing
  // within what a lossless subscription got.
  void ExpectSequences(PeerProcess& reader) const {
    for (const ReceivedIds& ids : reader.counts().received) {
      EXPECT_EQ(ids.duplicates, 0u);
      EXPECT_EQ(ids.torn, 0u);
      if (!is_lossy()) {
        EXPECT_EQ(ids.gaps, 0u);
      }
    }
  }

  // Checks a reader that lived from the first message to the last.
  void ExpectAllAccountedFor(int i) {
    PeerProcess& reader = *readers_[static_cast<size_t>(i)];
    const Counted sent = LedgerOf(*writer_, ServiceOf(i));
    const Counted got = LedgerOf(reader);
    EXPECT_EQ(sent.in_flight, 0u);
    EXPECT_EQ(got.delivered, ReceivedBy(reader));
    EXPECT_EQ(sent.accepted, got.delivered + got.dropped + sent.dropped);
    ExpectTheNewest(reader);
    if (policy_ == "disconnect") {
      EXPECT_EQ(sent.dropped + got.dropped, 0u);
      if (sent.accepted < writer_->counts().accepted && i > 0) {
        reader.Await("ended");
        EXPECT_EQ(reader.counts().at_end, ReceivedBy(reader));
      }
      return;
    }
    EXPECT_EQ(reader.counts().ends, 0u);
    EXPECT_EQ(sent.accepted, writer_->counts().accepted);
    if (!is_lossy()) {
      EXPECT_EQ(sent.dropped, 0u);
      return;
    }
    EXPECT_EQ(sent.dropped, sent.overflow);
    // No message tells what drop_newest has dropped since the last one that
    // arrived.
    if (policy_ == "drop_newest") {
      EXPECT_LE(reader.counts().lost, sent.dropped);
    } else {
      EXPECT_EQ(reader.counts().lost, sent.dropped);
    }
  }

  // Checks a victim that is gone: it handled each message, or the message was
  // dropped.
  void ExpectVictimAccountedFor() {
    const Counted sent = LedgerOf(*writer_, ServiceOf(0));
    uint64_t handled = ReceivedBy(*readers_[0]);
    if (first_life_ != nullptr) handled += ReceivedBy(*first_life_);
    EXPECT_EQ(sent.in_flight, 0u);
    // Only a lossy lane drops for another reason than a missing subscriber.
    EXPECT_EQ(sent.dropped, sent.gone + sent.overflow);
    if (!is_lossy()) {
      EXPECT_EQ(sent.overflow, 0u);
    }
    if (event_ == "left") {
      EXPECT_EQ(last_words_.delivered, handled);
      // A lossy lane keeps few messages; the victim may have got all of them.
      if (policy_ == "block" || policy_ == "fail") {
        EXPECT_GT(sent.gone + last_words_.gone, 0u);
      }
      EXPECT_EQ(last_words_.dropped, last_words_.gone);
      EXPECT_EQ(sent.gone + last_words_.gone,
                sent.accepted - handled - sent.overflow);
      return;
    }
    // The victim may have died after it handled some messages and before it
    // could say so: they count as dropped, or come again. In a lossy lane that
    // is at most a window.
    EXPECT_LE(sent.accepted, handled + sent.dropped);
    if (is_lossy()) {
      EXPECT_LE(handled + sent.dropped, sent.accepted + window());
    }
    if (event_ == "restarted_soon" && policy_ != "disconnect") {
      EXPECT_EQ(sent.gone, 0u);
    }
    if (event_ != "restarted_soon") {
      EXPECT_LE(handled, sent.accepted);
    } else if (!is_lossy() && policy_ != "disconnect") {
      EXPECT_EQ(sent.dropped, 0u);
      ExpectNoGapBetweenLives();
    }
  }

  void ExpectNoGapBetweenLives() {
    for (size_t run = 1; run <= static_cast<size_t>(threads_); ++run) {
      const ReceivedIds& before = first_life_->counts().received[run];
      const ReceivedIds& after = readers_[0]->counts().received[run];
      if (after.count > 0) {
        EXPECT_LE(after.first, before.last + 1);
      }
      EXPECT_EQ(std::max<uint64_t>(before.last, after.last),
                writer_->counts().accepted_by[run]);
    }
  }

  const std::string policy_ = std::get<0>(GetParam());
  const std::string event_ = std::get<1>(GetParam());
  const int subscribers_ = std::get<2>(GetParam());
  const int threads_ = std::get<3>(GetParam());
  std::unique_ptr<PeerProcess> writer_;
  std::vector<std::unique_ptr<PeerProcess>> readers_;  // The victim first.
  std::unique_ptr<PeerProcess> first_life_;  // Of a victim that came back.
  Counted last_words_;                       // Of a victim that left.
};

TEST_P(MatrixTest, EachMessageIsDeliveredOrCounted) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  ASSERT_NO_FATAL_FAILURE(RunEvent());
  End();
  EXPECT_GT(writer_->counts().accepted, 0u);
  for (int i = 0; i < subscribers_; ++i) {
    ExpectSequences(*readers_[static_cast<size_t>(i)]);
    if (i > 0) ExpectAllAccountedFor(i);
  }
  if (first_life_ != nullptr) {
    ExpectSequences(*first_life_);
    ExpectVictimAccountedFor();
  } else if (is_victim_gone()) {
    ExpectVictimAccountedFor();
  } else {
    ExpectAllAccountedFor(0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cells, MatrixTest,
    ::testing::Combine(::testing::Values("block", "fail", "drop_newest",
                                         "drop_oldest", "latest", "disconnect"),
                       ::testing::Values("slow", "stopped", "killed",
                                         "restarted_soon", "restarted_late",
                                         "left", "disconnected"),
                       ::testing::Values(1, 3), ::testing::Values(1, 4)),
    [](const auto& cell) {
      return absl::StrCat(std::get<0>(cell.param), "_", std::get<1>(cell.param),
                          "_", std::get<2>(cell.param), "subscribers_",
                          std::get<3>(cell.param), "threads");
    });

}  // namespace
}  // namespace mycelium::test
