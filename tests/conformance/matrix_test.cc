// Every overflow policy against everything that may happen to a subscriber,
// alone or beside two others, with one publishing thread or four. Each cell is
// a writer and its readers in processes of their own.

#include <memory>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include "tests/conformance/process_fixture.h"

namespace mycelium::test {
namespace {

using Cell = std::tuple<std::string, std::string, int, int>;

constexpr uint64_t kSome = 200;

class MatrixTest : public ProcessTest,
                   public ::testing::WithParamInterface<Cell> {
 protected:
  MatrixTest() {
    std::ofstream file(dir_.file("topology.toml"));
    const bool retained = event_ != "killed" && event_ != "restarted_late";
    file << "socket_dir = \"" << dir_.path() << "\"\n" << NodeOf("a", "writer");
    for (int i = 0; i < subscribers_; ++i) {
      file << NodeOf(absl::StrCat("b", i), ServiceOf(i));
    }
    file << "[defaults]\ntransport = \"" << TransportUnderTest()
         << "\"\npublish_timeout = \"300ms\"\n"
         << "retain = \"" << (retained ? "20s" : "200ms") << "\"\n"
         << "lane_bytes = \"64KiB\"\n"
         << "[limits]\nframe_bytes_max = \"8KiB\"\nreconnect_max = \"50ms\"\n";
  }

  static std::string ServiceOf(int i) {
    return i == 0 ? "victim" : absl::StrCat("bystander", i);
  }

  std::unique_ptr<PeerProcess> StartReader(int i) {
    Flags flags = {"--service=" + ServiceOf(i), "--overflow=" + policy_,
                   "--depth=8", "--window=2"};
    if (i == 0 && event_ == "slow") flags.push_back("--slow_us=50");
    auto reader = Start("subscribe", 1, flags);
    reader->Await("ready");
    return reader;
  }

  void Begin() {
    writer_ =
        Start("publish", 1, {"--to=", absl::StrCat("--threads=", threads_)});
    writer_->Await("ready");
    for (int i = 0; i < subscribers_; ++i) {
      readers_.push_back(StartReader(i));
      writer_->Await(absl::StrCat("event connected b", i));
    }
    ASSERT_EQ(writer_->Ask(absl::StrCat("wait ", subscribers_), "waited"),
              "OK");
    if (event_ == "disconnected") {
      // Who has heard nothing yet begins anew, and of a stream it may hear
      // nothing before its overflow ends it.
      EXPECT_EQ(writer_->Ask("publish 1", "published").substr(0, 2), "OK");
      readers_[0]->Ask("await 1", "reached 1");
    }
    writer_->Tell("stream");
    AwaitMore(*readers_[0]);
  }

  // Some more messages of the writer's first thread reach the reader; or, where
  // it may have been disconnected meanwhile, leave the writer.
  void AwaitMore(PeerProcess& reader) {
    const bool may_end = policy_ == "disconnect";
    PeerProcess& counts = may_end ? *writer_ : reader;
    const uint64_t goal =
        kSome + (may_end ? writer_->counts().accepted.load()
                         : reader.counts().received[1].count.load());
    counts.Ask(absl::StrCat("await ", goal), absl::StrCat("reached ", goal));
  }

  void RunEvent() {
    PeerProcess& victim = *readers_[0];
    if (event_ == "slow") {
      AwaitMore(victim);
    } else if (event_ == "stopped") {
      victim.Stop();
      // Whom nobody makes wait goes on.
      if (is_lossy() && subscribers_ > 1) AwaitMore(*readers_[1]);
      victim.Resume();
      AwaitMore(victim);
    } else if (event_ == "disconnected") {
      victim.Ask("cut", "cut");
      writer_->Await("event reconnected b0");
      AwaitMore(victim);
    } else if (event_ == "left") {
      EXPECT_EQ(victim.Ask("shutdown", "shut"), "OK");
      last_words_ = CountedOf(victim.Await("ledger"));
      writer_->Await("event gone b0");
    } else {
      victim.Kill();
      writer_->Await("event disconnected b0");
      if (event_ != "restarted_soon") writer_->Await("event gone b0");
    }
    if (event_ == "restarted_soon" || event_ == "restarted_late") {
      first_life_ = std::move(readers_[0]);
      readers_[0] = StartReader(0);
      writer_->Await("event connected b0");
      AwaitMore(*readers_[0]);
    }
  }

  void End() {
    (void)writer_->Ask("stop", "stopped");
    EXPECT_EQ(writer_->Ask("flush", "flushed"), "OK");
  }

  bool is_lossy() const {
    return policy_ == "drop_newest" || policy_ == "drop_oldest" ||
           policy_ == "latest";
  }
  bool is_victim_gone() const { return event_ == "killed" || event_ == "left"; }

  static uint64_t ReceivedBy(PeerProcess& reader) {
    uint64_t count = 0;
    for (const ReceivedIds& ids : reader.counts().received) count += ids.count;
    return count;
  }

  // No message twice, none out of order, and none missing within what a
  // lossless subscription got.
  void ExpectSequences(PeerProcess& reader) const {
    for (const ReceivedIds& ids : reader.counts().received) {
      EXPECT_EQ(ids.duplicates, 0u);
      EXPECT_EQ(ids.torn, 0u);
      if (!is_lossy()) {
        EXPECT_EQ(ids.gaps, 0u);
      }
    }
  }

  // A reader that lived from the first message to the last.
  void ExpectAllAccountedFor(int i) {
    PeerProcess& reader = *readers_[static_cast<size_t>(i)];
    const Counted sent = LedgerOf(*writer_, ServiceOf(i));
    const Counted got = LedgerOf(reader);
    EXPECT_EQ(sent.in_flight, 0u);
    EXPECT_EQ(got.delivered, ReceivedBy(reader));
    EXPECT_EQ(sent.accepted, got.delivered + got.dropped + sent.dropped);
    if (policy_ == "disconnect") return;  // Accepts less than the writer does.
    EXPECT_EQ(sent.accepted, writer_->counts().accepted);
    if (!is_lossy()) {
      EXPECT_EQ(sent.dropped, 0u);
      return;
    }
    // What drop_newest has dropped since the last one that came, nothing tells.
    if (policy_ == "drop_newest") {
      EXPECT_LE(reader.counts().lost, sent.dropped);
    } else {
      EXPECT_EQ(reader.counts().lost, sent.dropped);
    }
  }

  // A victim that is gone: what it handled and what was dropped is all.
  void ExpectVictimAccountedFor() {
    const Counted sent = LedgerOf(*writer_, ServiceOf(0));
    uint64_t handled = ReceivedBy(*readers_[0]);
    if (first_life_ != nullptr) handled += ReceivedBy(*first_life_);
    EXPECT_EQ(sent.in_flight, 0u);
    if (event_ == "left") {
      EXPECT_EQ(last_words_.delivered, handled);
      EXPECT_EQ(sent.accepted, handled + last_words_.dropped + sent.dropped);
      return;
    }
    // It may have died after it had handled one and before it could say so:
    // that one counts as dropped, or comes again.
    EXPECT_LE(sent.accepted, handled + sent.dropped);
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
  Begin();
  RunEvent();
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
