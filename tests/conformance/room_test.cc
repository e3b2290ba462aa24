// How a publisher that never waits learns that there is room again, and how a
// node reports what was dropped.

#include <poll.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/support/notification.h"

namespace mycelium::test {
namespace {

constexpr char kSmallLanes[] =
    "[limits]\nframe_bytes_max = 4096\n"
    "[defaults]\nlane_bytes = \"64KiB\"";
constexpr size_t kBlobBytes = 1000;

bool IsReadable(int descriptor, int timeout_ms) {
  pollfd watched = {descriptor, POLLIN, 0};
  return poll(&watched, 1, timeout_ms) == 1;
}

class RoomTest : public ConformanceTest {
 protected:
  static PublisherOptions NeverWaiting() {
    PublisherOptions options;
    options.publish_timeout = absl::ZeroDuration();
    return options;
  }

  Publisher<Note> Publishing() {
    auto publisher = alpha_->Publisher<Note>(NeverWaiting());
    EXPECT_TRUE(publisher.ok()) << publisher.status();
    EXPECT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
    return *std::move(publisher);
  }

  // Publishes until there is no room. Returns the last accepted id.
  static uint64_t Fill(Publisher<Note>& publisher, uint64_t id = 1) {
    const uint64_t most = id + kMoreThanFits;
    while (id < most && publisher.Publish(MakeNote(id, kBlobBytes)).ok()) ++id;
    EXPECT_LT(id, most) << "the lane never filled";
    return id - 1;
  }
};

TEST_P(RoomTest, CallbackComesWhenRoomIsMadeAndNotBefore) {
  Open(kSmallLanes);
  auto pull = beta_->Subscriber<Note>();
  Publisher<Note> publisher = Publishing();
  const uint64_t filled = Fill(publisher);
  Notification room;
  publisher.CallWhenRoom([&] { room.Notify(); });
  EXPECT_FALSE(room.HasBeenNotified());
  EXPECT_EQ(ReceiveAll(*pull, filled), Counting(filled));
  EXPECT_TRUE(room.WaitForNotificationWithTimeout(kLong));
  EXPECT_THAT(publisher.Publish(MakeNote(filled + 1, kBlobBytes)), IsOk());
  EXPECT_EQ(ReceiveAll(*pull, 1).front(), filled + 1);
}

TEST_P(RoomTest, CallbackComesAtOnceWhereThereIsRoom) {
  Open(kSmallLanes);
  auto pull = beta_->Subscriber<Note>();
  Publisher<Note> publisher = Publishing();
  EXPECT_THAT(publisher.Publish(MakeNote(1)), IsOk());
  bool called = false;
  publisher.CallWhenRoom([&] { called = true; });
  EXPECT_TRUE(called);
  (void)ReceiveAll(*pull, 1);
}

TEST_P(RoomTest, DescriptorLetsOneThreadPublishAndReceiveWithoutWaiting) {
  Open(kSmallLanes);
  auto pull = beta_->Subscriber<Note>();
  Publisher<Note> publisher = Publishing();
  const auto descriptor = publisher.RoomDescriptor();
  ASSERT_TRUE(descriptor.ok()) << descriptor.status();
  constexpr uint64_t kNotes = 1000;
  std::vector<uint64_t> got;
  uint64_t sent = Fill(publisher);
  EXPECT_FALSE(IsReadable(*descriptor, 0));
  while (got.size() < kNotes) {
    if (sent < kNotes && IsReadable(*descriptor, 0)) {
      while (sent < kNotes &&
             publisher.Publish(MakeNote(sent + 1, kBlobBytes)).ok()) {
        ++sent;
      }
    }
    if (got.size() == sent) {
      (void)pull->TryReceive();  // Finishes the last one.
      ASSERT_TRUE(IsReadable(*descriptor, 20'000));
      continue;
    }
    auto note = pull->Receive(kLong);
    ASSERT_TRUE(note.ok()) << note.status();
    got.push_back((*note)->id());
  }
  EXPECT_EQ(got, Counting(kNotes));
  (void)pull->TryReceive();
}

TEST_P(RoomTest, DescriptorThatIsMadeLateTellsOfTheLastRefusalToo) {
  Open(kSmallLanes);
  auto pull = beta_->Subscriber<Note>();
  Publisher<Note> publisher = Publishing();
  const uint64_t filled = Fill(publisher);
  const auto descriptor = publisher.RoomDescriptor();
  ASSERT_TRUE(descriptor.ok()) << descriptor.status();
  EXPECT_FALSE(IsReadable(*descriptor, 0));
  EXPECT_EQ(ReceiveAll(*pull, filled), Counting(filled));
  (void)pull->TryReceive();  // Finishes the last one.
  EXPECT_TRUE(IsReadable(*descriptor, 20'000));
}

// What a node reported of drops and stalls.
class Told final {
 public:
  void Add(const FlowEvent& event) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (event.kind == FlowEvent::Kind::kStalled) {
      ++stalls_;
    } else {
      dropped_ += event.messages;
      reason_ = event.reason;
    }
    changed_.notify_all();
  }
  bool WaitForDropped(uint64_t messages) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoSeconds(kLong),
                             [&] { return dropped_ >= messages; });
  }
  bool WaitForStalls(uint64_t stalls) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoSeconds(kLong),
                             [&] { return stalls_ >= stalls; });
  }
  uint64_t dropped() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return dropped_;
  }
  DropReason reason() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return reason_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t dropped_ = 0;
  uint64_t stalls_ = 0;
  DropReason reason_ = DropReason::kNoSubscriber;
};

TEST_P(RoomTest, EveryDropIsToldInTheEndWithItsReason) {
  Told told;
  std::atomic<int> lines{0};
  BusOptions options;
  options.on_flow = [&](const FlowEvent& event) { told.Add(event); };
  options.log = [&](LogLevel, absl::string_view line) {
    if (absl::StrContains(line, "dropped: overflow")) ++lines;
  };
  Open(kSmallLanes, options);
  SubscriberOptions latest;
  latest.overflow = Overflow::kLatest;
  auto pull = beta_->Subscriber<Note>(latest);
  Publisher<Note> publisher = Publishing();
  constexpr uint64_t kNotes = 5000;
  for (uint64_t id = 1; id <= kNotes; ++id) {
    ASSERT_THAT(publisher.Publish(MakeNote(id)), IsOk());
  }
  uint64_t got = 0, lost = 0, last = 0;
  while (last < kNotes) {
    auto note = pull->Receive(kLong);
    ASSERT_TRUE(note.ok()) << note.status();
    ++got;
    lost += pull->info().lost_before();
    last = (*note)->id();
  }
  (void)pull->TryReceive();
  EXPECT_EQ(got + lost, kNotes);
  EXPECT_TRUE(told.WaitForDropped(lost));
  EXPECT_EQ(told.dropped(), lost);
  EXPECT_EQ(told.reason(), DropReason::kOverflow);
  EXPECT_GE(lines, 1);
  EXPECT_LE(lines, 10) << "one for many drops";
}

TEST_P(RoomTest, StallIsTold) {
  Told told;
  BusOptions options;
  options.on_flow = [&](const FlowEvent& event) { told.Add(event); };
  options.log = [](LogLevel, absl::string_view) {};
  Open(kSmallLanes, options);
  auto pull = beta_->Subscriber<Note>();
  Publisher<Note> publisher = Publishing();
  const uint64_t filled = Fill(publisher);
  EXPECT_TRUE(told.WaitForStalls(1));
  EXPECT_EQ(ReceiveAll(*pull, filled), Counting(filled));
}

MYCELIUM_ALL_TRANSPORTS(RoomTest);

}  // namespace
}  // namespace mycelium::test
