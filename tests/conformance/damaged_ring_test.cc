// A ring in shared memory is damaged between two nodes that keep to the rules,
// as by a stray store of the publisher's process. The loss is reported and
// counted.
#include <atomic>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mycelium/base/mutex.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shm_endpoint.h"
#include "mycelium/codec/frame_format.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/support/comes.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

constexpr uint64_t kNotes = 50;
constexpr uint64_t kDamaged = 20;

// The start of a data segment, which this process may write to; a data segment
// is larger than a segment of positions.
std::byte* DataSegment() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    char access[5] = {};
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s", &begin, &end,
                    access) == 3 &&
        end - begin >= 64 << 10 && std::strcmp(access, "rw-s") == 0 &&
        absl::StrContains(line, "memfd:mycelium")) {
      return reinterpret_cast<std::byte*>(begin);
    }
  }
  return nullptr;
}

// The frame with that sequence.
std::byte* FrameIn(std::byte* segment, uint64_t sequence) {
  for (size_t at = 0;;) {
    FrameHeader header;
    std::memcpy(&header, segment + at, sizeof header);
    if (header.frame_bytes == 0) return nullptr;
    if (header.lane_sequence == sequence) return segment + at;
    at += AlignedFrameBytes(header.frame_bytes);
  }
}

// What a stray store may do to a frame, and how the lost frame is counted.
struct Damage {
  const char* name;
  size_t offset;  // In the header.
  uint64_t value;
  size_t bytes;
  DropReason reason;
  bool found_by_writer = false;
};

const Damage kDamages[] = {
    // The sequence of a lossy lane may skip numbers, but never goes back.
    {"Sequence", offsetof(FrameHeader, lane_sequence), 7, 8,
     DropReason::kUndecodable},
    {"Length", offsetof(FrameHeader, frame_bytes), 3, 4,
     DropReason::kUndecodable},
    // The reader takes this for the end; a caller that waits in vain finds it.
    {"NoCommitWord", offsetof(FrameHeader, frame_bytes), 0, 4,
     DropReason::kUndecodable, /*found_by_writer=*/true},
    {"Extension", offsetof(FrameHeader, extension_bytes), 0xFFF8, 2,
     DropReason::kUndecodable},
    // For the reader this is a sound frame of an unknown publisher. It is tried
    // again, until it is known that it kills.
    {"Publisher", offsetof(FrameHeader, publisher_id), 7'777, 4,
     DropReason::kPoison},
    {"Flags", offsetof(FrameHeader, flags), 0x8000, 2, DropReason::kPoison},
    {"Digest", offsetof(FrameHeader, digest_prefix), 7'777, 8,
     DropReason::kPoison},
};

class DamagedRingTest
    : public ::testing::TestWithParam<std::tuple<Damage, Overflow>> {
 protected:
  DamagedRingTest() {
    EXPECT_TRUE(endpoint_.ok()) << endpoint_.status();
    EXPECT_TRUE(DialShmEndpoint(path_, *writer_).ok());
  }

  std::unique_ptr<MessageBus> MakeBus(const std::string& node, PollMode poll) {
    BusOptions options;
    options.node = node;
    options.poll = poll;
    options.on_connection = [this, poll](const ConnectionEvent& event) {
      if (event.status.ok()) return;
      MutexLock lock(mutex_);
      (poll == PollMode::kCaller ? reader_told_ : writer_told_)
          .push_back(event.status);
    };
    options.log = [](LogLevel, absl::string_view) {};
    auto bus = MessageBus::Create(options);
    EXPECT_TRUE(bus.ok()) << bus.status();
    return *std::move(bus);
  }

  static const Damage& damage() { return std::get<0>(GetParam()); }

  static DropReason reason() {
    // The writer of a lossy ring knows the publisher of each frame.
    const bool is_known =
        damage().offset == offsetof(FrameHeader, publisher_id);
    return is_known && std::get<1>(GetParam()) != Overflow::kBlock
               ? DropReason::kUndecodable
               : damage().reason;
  }

  void Turn() { (void)reader_->Poll(absl::Milliseconds(1)); }
  // Whether it comes to hold while the reader has turns.
  template <typename Holds>
  bool ComesInTurns(Holds holds) {
    return Comes([&] {
      if (holds()) return true;
      Turn();
      return false;
    });
  }
  bool FlushComes() {
    return ComesInTurns(
        [&] { return writer_->Flush(absl::Milliseconds(1)).ok(); });
  }
  Ledger SumOfBoth() const {
    Ledger sum;
    for (const MessageBus* bus : {writer_.get(), reader_.get()}) {
      for (const FlowReport& flow : bus->FlowReports()) sum += flow.ledger;
    }
    return sum;
  }
  static void ExpectAllButTheDamaged(const std::vector<uint64_t>& ids) {
    std::vector<uint64_t> expected;
    for (uint64_t id = 1; id <= kNotes; ++id) {
      if (id != kDamaged) expected.push_back(id);
    }
    EXPECT_EQ(ids, expected);
  }
  void ExpectOneIsLostTo(uint64_t subscriptions) const {
    const Ledger sum = SumOfBoth();
    EXPECT_EQ(sum.accepted, subscriptions * kNotes);
    EXPECT_EQ(sum.delivered, subscriptions * (kNotes - 1));
    EXPECT_EQ(sum.dropped_for(reason()), subscriptions);
    EXPECT_TRUE(sum.Balances());
  }

  const ShortTempDir dir_;
  const std::string path_ = dir_.file("service.shm");
  Mutex mutex_;
  std::vector<absl::Status> reader_told_ ABSL_GUARDED_BY(mutex_);
  std::vector<absl::Status> writer_told_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<MessageBus> reader_ = MakeBus("reader", PollMode::kCaller);
  absl::StatusOr<ShmEndpointHandle> endpoint_ =
      BindShmEndpoint(path_, *reader_);
  std::unique_ptr<MessageBus> writer_ = MakeBus("writer", PollMode::kThread);
};

TEST_P(DamagedRingTest, OneMessageIsLostAndCountedAndTheLinkGoesOn) {
  std::vector<uint64_t> ids;
  SubscriberOptions options;
  options.overflow = std::get<1>(GetParam());
  if (options.overflow != Overflow::kBlock) options.depth = kNotes;
  auto handle = reader_->Subscribe<Note>(
      [&](const Note& note, const MessageInfo&) { ids.push_back(note.id()); },
      options);
  auto publisher = writer_->Publisher<Note>();
  ASSERT_TRUE(ComesInTurns([&] { return publisher->subscriber_count() > 0; }));
  for (uint64_t id = 1; id <= kNotes; ++id) {
    ASSERT_TRUE(publisher->Publish(MakeNote(id)).ok());
  }
  std::byte* const segment = DataSegment();
  ASSERT_NE(segment, nullptr);
  std::byte* const frame = FrameIn(segment, kDamaged);
  ASSERT_NE(frame, nullptr);
  std::memcpy(frame + damage().offset, &damage().value, damage().bytes);
  ASSERT_TRUE(ComesInTurns([&] {
    (void)writer_->Flush(absl::Milliseconds(1));
    return !ids.empty() && ids.back() == kNotes;
  }));
  ExpectAllButTheDamaged(ids);
  {
    MutexLock lock(mutex_);
    const std::vector<absl::Status>& told =
        damage().found_by_writer ? writer_told_ : reader_told_;
    ASSERT_FALSE(told.empty());
    for (const absl::Status& status : told) {
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    }
  }
  ASSERT_TRUE(FlushComes());
  ExpectOneIsLostTo(/*subscriptions=*/1);
}

// A message that is in a queue when the damage is found is read where it lies,
// and would come again from a lane that begins anew.
TEST_P(DamagedRingTest, WhatCameBeforeIsTakenFromAQueueFirst) {
  SubscriberOptions options;
  options.overflow = std::get<1>(GetParam());
  if (options.overflow != Overflow::kBlock) options.depth = kNotes;
  auto subscriber = reader_->Subscriber<Note>(options);
  auto publisher = writer_->Publisher<Note>();
  ASSERT_TRUE(ComesInTurns([&] { return publisher->subscriber_count() > 0; }));
  for (uint64_t id = 1; id <= kNotes; ++id) {
    ASSERT_TRUE(publisher->Publish(MakeNote(id, /*blob_bytes=*/2'000)).ok());
  }
  std::byte* const frame = FrameIn(DataSegment(), kDamaged);
  ASSERT_NE(frame, nullptr);
  std::memcpy(frame + damage().offset, &damage().value, damage().bytes);
  std::vector<uint64_t> ids;
  ASSERT_TRUE(Comes([&] {
    // The reader has time to reach the damage, and all that lies behind it.
    for (int turn = 0; turn < 20; ++turn) {
      (void)reader_->Poll(absl::ZeroDuration());
    }
    (void)writer_->Flush(absl::Milliseconds(1));
    const auto got = subscriber->TryReceive();
    EXPECT_TRUE(got.ok()) << got.status();
    if (got.ok() && *got != nullptr) ids.push_back((*got)->id());
    return !got.ok() || (!ids.empty() && ids.back() == kNotes);
  }));
  ExpectAllButTheDamaged(ids);
  EXPECT_EQ(*subscriber->TryReceive(), nullptr);  // The last one is handled.
  ASSERT_TRUE(FlushComes());
  EXPECT_EQ(*subscriber->TryReceive(), nullptr);
  ExpectOneIsLostTo(/*subscriptions=*/1);
}

// Each of the two subscriptions has accepted the lost message.
TEST_P(DamagedRingTest, MessageThatTwoSubscriptionsShareIsLostToBoth) {
  if (std::get<1>(GetParam()) != Overflow::kBlock) return;  // None is shared.
  uint64_t got = 0;
  const auto count = [&](const Note&, const MessageInfo&) { ++got; };
  SubscriberOptions other;
  other.name = "the other";
  auto one = reader_->Subscribe<Note>(count);
  auto two = reader_->Subscribe<Note>(count, other);
  auto publisher = writer_->Publisher<Note>();
  ASSERT_TRUE(ComesInTurns([&] { return publisher->subscriber_count() > 1; }));
  for (uint64_t id = 1; id <= kNotes; ++id) {
    ASSERT_TRUE(publisher->Publish(MakeNote(id)).ok());
  }
  std::byte* const frame = FrameIn(DataSegment(), kDamaged);
  ASSERT_NE(frame, nullptr);
  std::memcpy(frame + damage().offset, &damage().value, damage().bytes);
  ASSERT_TRUE(ComesInTurns([&] {
    (void)writer_->Flush(absl::Milliseconds(1));
    return got >= 2 * (kNotes - 1);
  }));
  ASSERT_TRUE(FlushComes());
  ExpectOneIsLostTo(/*subscriptions=*/2);
}

// Only a thread that waits can find this damage, however long it would wait.
class LostLengthTest : public DamagedRingTest {
 protected:
  void Subscribe() {
    SubscriberOptions options;
    options.overflow = std::get<1>(GetParam());
    if (options.overflow != Overflow::kBlock) options.depth = kNotes;
    handle_ = *reader_->Subscribe<Note>(
        [this](const Note&, const MessageInfo&) { ++got_; }, options);
    PublisherOptions waits;
    waits.publish_timeout = absl::Hours(1);
    publisher_ = *writer_->Publisher<Note>(waits);
    ASSERT_TRUE(
        ComesInTurns([&] { return publisher_->subscriber_count() > 0; }));
    ASSERT_TRUE(Comes([&] {
      Publish();
      return published_ >= kNotes;
    }));
    std::byte* const frame = FrameIn(DataSegment(), kDamaged);
    ASSERT_NE(frame, nullptr);
    std::memcpy(frame + damage().offset, &damage().value, damage().bytes);
  }
  // May return that the subscriber is away just now.
  void Publish(size_t bytes = 0) {
    const absl::Status sent =
        publisher_->Publish(MakeNote(published_ + 1, bytes));
    if (sent.ok()) {
      ++published_;
    } else {
      EXPECT_EQ(sent.code(), absl::StatusCode::kUnavailable) << sent;
    }
  }
  void ExpectOneIsLost(std::thread* waiting) {
    // If this fails the process ends: the waiting thread would wait for ever.
    ASSERT_TRUE(ComesInTurns([&] { return !is_waiting_; }));
    waiting->join();
    ASSERT_TRUE(FlushComes());
    EXPECT_EQ(got_, published_ - 1);
    const Ledger sum = SumOfBoth();
    EXPECT_EQ(sum.accepted, published_);
    EXPECT_EQ(sum.dropped_for(DropReason::kUndecodable), 1u);
    EXPECT_TRUE(sum.Balances());
  }

  uint64_t got_ = 0;
  std::atomic<uint64_t> published_{0};
  std::atomic<bool> is_waiting_{true};
  SubscriptionHandle handle_;
  std::optional<Publisher<Note>> publisher_;
};

TEST_P(LostLengthTest, IsFoundByWhoFlushesWithoutADeadline) {
  Subscribe();
  std::thread flushing([this] {
    EXPECT_TRUE(writer_->Flush(absl::InfiniteDuration()).ok());
    is_waiting_ = false;
  });
  ExpectOneIsLost(&flushing);
}

TEST_P(LostLengthTest, IsFoundByWhoWaitsForRoom) {
  if (std::get<1>(GetParam()) != Overflow::kBlock) return;  // Nobody waits.
  Subscribe();
  std::thread publishing([this] {
    while (published_ < 500) Publish(4'000);
    is_waiting_ = false;
  });
  ExpectOneIsLost(&publishing);
}

// Messages that the subscriber cannot reach; no reader comes after it to find
// them.
TEST_P(LostLengthTest, HidesNothingFromTheLedgerWhereNobodyComesBack) {
  Subscribe();
  ASSERT_TRUE(ComesInTurns([&] { return got_ >= kDamaged - 1; }));
  (void)reader_->Shutdown(absl::ZeroDuration());
  (void)writer_->Shutdown(absl::Seconds(20));
  const Ledger sum = SumOfBoth();
  EXPECT_EQ(sum.accepted, kNotes);
  EXPECT_EQ(sum.delivered, kDamaged - 1);
  EXPECT_EQ(sum.dropped_total(), kNotes - (kDamaged - 1));
  EXPECT_EQ(sum.in_flight, 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Lanes, LostLengthTest,
    ::testing::Combine(::testing::Values(kDamages[2]),
                       ::testing::Values(Overflow::kBlock,
                                         Overflow::kDropOldest)),
    [](const auto& info) {
      return std::get<1>(info.param) == Overflow::kBlock ? "Lossless" : "Lossy";
    });

INSTANTIATE_TEST_SUITE_P(
    Damages, DamagedRingTest,
    ::testing::Combine(::testing::ValuesIn(kDamages),
                       ::testing::Values(Overflow::kBlock,
                                         Overflow::kDropOldest,
                                         Overflow::kDropNewest)),
    [](const auto& info) {
      const Overflow overflow = std::get<1>(info.param);
      return absl::StrCat(std::get<0>(info.param).name,
                          overflow == Overflow::kBlock        ? "Block"
                          : overflow == Overflow::kDropOldest ? "DropOldest"
                                                              : "DropNewest");
    });

}  // namespace
}  // namespace mycelium::test
