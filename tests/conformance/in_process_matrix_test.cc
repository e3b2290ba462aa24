// Every overflow policy against what may happen to a subscriber within one
// process: it falls behind and goes on, leaves with messages unhandled, or
// comes back after that. It is alone or beside two others, with one publishing
// thread or four. matrix_test has the events that need processes to stop and
// die.
//
// In each cell the victim first stays in a handler until the publishers are
// told of its policy's effect.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "tests/support/comes.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {
namespace {

using Cell = std::tuple<std::string, std::string, int, int>;

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr int64_t kDepth = 8;
constexpr uint64_t kSome = 200;

Overflow OverflowOf(const std::string& word) {
  for (const Overflow one :
       {Overflow::kBlock, Overflow::kFail, Overflow::kDropNewest,
        Overflow::kDropOldest, Overflow::kLatest, Overflow::kDisconnect}) {
    if (WordOf(one) == word) return one;
  }
  ADD_FAILURE() << "no such policy: " << word;
  return Overflow::kBlock;
}

// One subscription, or several in succession, and the messages it was given.
class Reader final {
 public:
  Reader(std::string name, Overflow overflow)
      : name_(std::move(name)), overflow_(overflow) {}

  void Subscribe(MessageBus& bus) {
    SubscriberOptions options;
    options.name = name_;
    options.overflow = overflow_;
    options.depth = kDepth;
    options.delivery = DeliveryMode::kQueued;
    options.on_error = [this](const absl::Status& status) {
      const std::lock_guard<std::mutex> lock(mutex_);
      end_ = status;
    };
    // The next subscription begins with whatever is published next.
    const std::lock_guard<std::mutex> lock(mutex_);
    lasts_.clear();
    end_ = absl::OkStatus();
    auto handle = bus.Subscribe<Note>(
        [this](const Note& note, const MessageInfo& info) {
          Handle(note, info);
        },
        options);
    ASSERT_TRUE(handle.ok()) << handle.status();
    handle_ = *std::move(handle);
  }

  void Hold() {
    const std::lock_guard<std::mutex> lock(mutex_);
    shut_ = true;
  }
  bool is_held() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return held_;
  }
  void Release() {
    const std::lock_guard<std::mutex> lock(mutex_);
    shut_ = false;
    opened_.notify_all();
  }

  SubscriptionHandle& handle() { return handle_; }
  const std::string& name() const { return name_; }
  uint64_t count() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return count_;
  }
  uint64_t lost() const { return lost_; }
  uint64_t gaps() const { return gaps_; }
  uint64_t out_of_order() const { return out_of_order_; }
  absl::Status end() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return end_;
  }
  uint64_t LastOf(uint64_t run) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto last = lasts_.find(run);
    return last == lasts_.end() ? 0 : last->second;
  }

 private:
  void Handle(const Note& note, const MessageInfo& info) {
    std::unique_lock<std::mutex> lock(mutex_);
    held_ = shut_;
    opened_.wait(lock, [this] { return !shut_; });
    held_ = false;
    uint64_t run = 0;
    (void)absl::SimpleAtoi(note.text(), &run);
    const auto [last, is_first] = lasts_.emplace(run, note.id());
    if (!is_first) {
      if (note.id() <= last->second) ++out_of_order_;
      if (note.id() > last->second + 1) gaps_ += note.id() - last->second - 1;
      last->second = note.id();
    }
    ++count_;
    lost_ += info.lost_before();
  }

  const std::string name_;
  const Overflow overflow_;
  SubscriptionHandle handle_;
  mutable std::mutex mutex_;
  std::condition_variable opened_;
  bool shut_ = false;
  bool held_ = false;
  uint64_t count_ = 0;
  uint64_t lost_ = 0;
  uint64_t gaps_ = 0;
  uint64_t out_of_order_ = 0;
  std::map<uint64_t, uint64_t> lasts_;  // By the publisher's run.
  absl::Status end_;
};

class InProcessMatrixTest : public ::testing::TestWithParam<Cell> {
 protected:
  InProcessMatrixTest() {
    std::ofstream file(dir_.file("topology.toml"));
    // A publisher that waited for a lossy subscription would do so for longer
    // than any test.
    file << "[[nodes]]\nname = \"all\"\nservices = [\"writer\"";
    for (int i = 0; i < subscribers_; ++i) file << ", \"" << NameOf(i) << "\"";
    file << "]\n[defaults]\nlane_bytes = \"64KiB\"\npublish_timeout = \""
         << (IsLossy() ? "1h" : "20ms") << "\"\n"
         << "[limits]\nframe_bytes_max = \"8KiB\"\n";
    file.close();
    bus_ = BusOf("writer");
    for (int i = 0; i < subscribers_; ++i) {
      buses_.push_back(BusOf(NameOf(i)));
      readers_.push_back(std::make_unique<Reader>(NameOf(i), overflow_));
      readers_.back()->Subscribe(*buses_.back());
    }
    for (int run = 1; run <= threads_; ++run) {
      auto publisher = bus_->Publisher<Note>();
      EXPECT_TRUE(publisher.ok()) << publisher.status();
      publishers_.push_back(*std::move(publisher));
      accepted_.push_back(std::make_unique<std::atomic<uint64_t>>(0));
    }
  }

  ~InProcessMatrixTest() override {
    StopStreams();
    for (const auto& reader : readers_) reader->Release();
  }

  static std::string NameOf(int i) {
    return i == 0 ? "victim" : absl::StrCat("bystander", i);
  }

  std::unique_ptr<MessageBus> BusOf(const std::string& service) {
    auto bus = MessageBus::FromTopology(dir_.file("topology.toml"), service);
    EXPECT_TRUE(bus.ok()) << bus.status();
    return *std::move(bus);
  }

  void StartStreams() {
    for (size_t i = 0; i < publishers_.size(); ++i) {
      streams_.emplace_back([this, i] {
        Note note;
        note.set_text(absl::StrCat(i + 1));
        while (!stopping_) {
          note.set_id(*accepted_[i] + 1);
          const absl::Status sent = publishers_[i].Publish(note);
          if (sent.ok()) {
            ++*accepted_[i];
          } else {
            NoteRefusal(sent);
          }
        }
      });
    }
  }

  void StopStreams() {
    stopping_ = true;
    for (std::thread& stream : streams_) stream.join();
    streams_.clear();
  }

  // Counts the publishes that the victim's lane refused as its policy requires.
  void NoteRefusal(const absl::Status& sent) {
    if (!absl::IsResourceExhausted(sent)) return;
    const absl::string_view text = sent.message();
    if (!absl::StrContains(text, "victim")) return;
    const bool fits = overflow_ == Overflow::kFail
                          ? absl::StrContains(text, "overflow is fail")
                          : absl::StrContains(text, "waited ") ||
                                absl::StrContains(text, "has stalled");
    if (fits) ++refused_;
  }

  bool HasPolicySpoken() {
    if (IsLossy()) {
      return LedgerOf(victim()).dropped_for(DropReason::kOverflow) > 0;
    }
    if (overflow_ == Overflow::kDisconnect) {
      return !victim().handle().status().ok();
    }
    return refused_ > 0;
  }

  Ledger LedgerOf(const Reader& reader) const {
    Ledger sum;
    for (const FlowReport& flow : bus_->FlowReports()) {
      if (flow.subscription_name == reader.name()) sum += flow.ledger;
    }
    return sum;
  }

  void ExpectMoreFor(Reader& reader) {
    const uint64_t goal = reader.count() + kSome;
    EXPECT_TRUE(Comes([&] {
      // A bystander under `disconnect` may fall behind, too.
      return reader.count() >= goal || !reader.end().ok();
    })) << reader.name();
  }

  // The victim leaves while it is in its handler and more messages wait behind
  // that.
  void Leave() {
    EXPECT_FALSE(victim().handle().UnsubscribeWithin(absl::ZeroDuration()));
    const uint64_t before = victim().count();
    victim().Release();
    victim().handle().Unsubscribe();
    EXPECT_EQ(victim().count(), before + 1) << "one stood in its handler";
    // Under `latest` the waiting one may have been dropped for one that is
    // being published.
    if (overflow_ != Overflow::kDisconnect && overflow_ != Overflow::kLatest) {
      EXPECT_GT(LedgerOf(victim()).dropped_for(DropReason::kSubscriberGone),
                0u);
    }
  }

  void ExpectAccountedFor(const Reader& reader) {
    SCOPED_TRACE(reader.name());
    const Ledger ledger = LedgerOf(reader);
    EXPECT_TRUE(ledger.Balances());
    EXPECT_EQ(ledger.in_flight, 0u);
    EXPECT_EQ(ledger.delivered, reader.count());
    EXPECT_EQ(reader.out_of_order(), 0u);
    const uint64_t gone = ledger.dropped_for(DropReason::kSubscriberGone);
    const uint64_t overflow = ledger.dropped_for(DropReason::kOverflow);
    EXPECT_EQ(ledger.dropped_total(), gone + overflow);
    const bool stayed = &reader != &victim() || event_ == "slow";
    if (stayed && overflow_ != Overflow::kDisconnect) {
      EXPECT_EQ(gone, 0u);
      EXPECT_EQ(ledger.accepted, AcceptedOfAll());
    }
    if (!IsLossy()) {
      EXPECT_EQ(overflow, 0u);
      EXPECT_EQ(reader.gaps(), 0u);
      return;
    }
    if (overflow_ == Overflow::kDropNewest || !stayed) {
      // No message tells of drops after the last one that arrived.
      EXPECT_LE(reader.lost(), overflow);
    } else {
      EXPECT_EQ(reader.lost(), overflow);
      bool has_newest = false;
      for (size_t i = 0; i < accepted_.size(); ++i) {
        has_newest |= reader.LastOf(i + 1) == *accepted_[i];
      }
      EXPECT_TRUE(has_newest);
    }
  }

  uint64_t AcceptedOfAll() const {
    uint64_t sum = 0;
    for (const auto& accepted : accepted_) sum += *accepted;
    return sum;
  }

  bool IsLossy() const {
    return overflow_ == Overflow::kDropNewest ||
           overflow_ == Overflow::kDropOldest || overflow_ == Overflow::kLatest;
  }
  Reader& victim() { return *readers_[0]; }

  const Overflow overflow_ = OverflowOf(std::get<0>(GetParam()));
  const std::string event_ = std::get<1>(GetParam());
  const int subscribers_ = std::get<2>(GetParam());
  const int threads_ = std::get<3>(GetParam());
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> refused_{0};
  ShortTempDir dir_;
  std::vector<std::unique_ptr<Reader>> readers_;  // The victim first.
  std::vector<std::unique_ptr<MessageBus>> buses_;
  std::unique_ptr<MessageBus> bus_;
  std::vector<Publisher<Note>> publishers_;
  std::vector<std::unique_ptr<std::atomic<uint64_t>>> accepted_;  // By run.
  std::vector<std::thread> streams_;
};

TEST_P(InProcessMatrixTest, EachMessageIsDeliveredOrCounted) {
  victim().Hold();
  StartStreams();
  ASSERT_TRUE(Comes([this] { return victim().is_held(); }));
  ASSERT_TRUE(Comes([this] { return HasPolicySpoken(); }));
  const bool has_ended = overflow_ == Overflow::kDisconnect;
  if (event_ == "slow") {
    victim().Release();
    if (has_ended) {
      ASSERT_TRUE(Comes([this] { return !victim().end().ok(); }));
      const std::string end = victim().end().ToString();
      EXPECT_THAT(end, ::testing::StartsWith("RESOURCE_EXHAUSTED"));
      EXPECT_THAT(end, ::testing::HasSubstr("fell behind"));
      // The victim is told at once; what was accepted still arrives.
      EXPECT_TRUE(Comes(
          [this] { return victim().count() == LedgerOf(victim()).accepted; }));
    } else {
      ExpectMoreFor(victim());
    }
  } else {
    Leave();
    const uint64_t count = victim().count();
    if (event_ == "back") {
      victim().Subscribe(*buses_[0]);
      ASSERT_TRUE(Comes([&] { return victim().count() > count; }));
      ExpectMoreFor(victim());
    }
  }
  for (size_t i = 1; i < readers_.size(); ++i) ExpectMoreFor(*readers_[i]);
  StopStreams();
  EXPECT_TRUE(bus_->Flush(kLong).ok());
  EXPECT_GT(AcceptedOfAll(), 0u);
  for (const auto& reader : readers_) ExpectAccountedFor(*reader);
}

INSTANTIATE_TEST_SUITE_P(
    Cells, InProcessMatrixTest,
    ::testing::Combine(::testing::Values("block", "fail", "drop_newest",
                                         "drop_oldest", "latest", "disconnect"),
                       ::testing::Values("slow", "left", "back"),
                       ::testing::Values(1, 3), ::testing::Values(1, 4)),
    [](const auto& cell) {
      return absl::StrCat(std::get<0>(cell.param), "_", std::get<1>(cell.param),
                          "_", std::get<2>(cell.param), "subscribers_",
                          std::get<3>(cell.param), "threads");
    });

}  // namespace
}  // namespace mycelium::test
