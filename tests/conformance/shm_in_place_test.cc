// Messages in queues that stay where the publisher's process wrote them.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/shm_endpoint.h"
#include "mycelium/message/protobuf_type.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/conformance/process_fixture.h"
#include "tests/support/mapped_files.h"
#include "tests/support/notification.h"
#include "tests/support/short_temp_dir.h"
#include "tests/support/two_users_sys.h"

namespace mycelium::test {
namespace {

using Bytes = absl::Span<const std::byte>;

constexpr size_t kCapacity = 64 << 10;
constexpr size_t kSmall = 1000;  // Is copied out.
constexpr size_t kLarge = 5000;  // Is read where it lies.

bool IsShared(Bytes bytes) {
  return MappedFileAt(bytes.data()).is_shared_memory();
}

std::vector<std::byte> Pattern(uint64_t number, size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>(31 * number + i);
  }
  return bytes;
}

void ExpectPattern(Bytes bytes, uint64_t number) {
  EXPECT_EQ(bytes, Bytes(Pattern(number, bytes.size())))
      << "message " << number;
}

// A bus that publishes and a bus that receives, linked by shared memory with
// lanes of kCapacity.
class ShmInPlaceTest : public ::testing::Test {
 protected:
  ShmInPlaceTest() {
    OpenReader(BusOptions());
    impatient_.publish_timeout = absl::ZeroDuration();
    OpenWriter(PollMode::kThread);
  }

  void OpenReader(BusOptions options) {
    options.node = "reader";
    options.settings.publish_timeout = kLong;
    endpoint_.reset();
    reader_ = *MessageBus::Create(options);
    endpoint_.emplace(
        *BindShmEndpoint(path_, *reader_, std::nullopt, kCapacity));
  }

  void OpenWriter(PollMode poll) {
    BusOptions options;
    options.node = "writer";
    options.settings.publish_timeout = kLong;
    options.poll = poll;
    writer_.reset();
    writer_ = *MessageBus::Create(options);
    EXPECT_TRUE(DialShmEndpoint(path_, *writer_).ok());
  }

  // Messages may be dropped where one end leaves.
  void TearDown() override {
    (void)writer_->Flush(kLong);
    Ledger sum;
    for (const auto* bus : {writer_.get(), reader_.get()}) {
      for (const FlowReport& flow : bus->FlowReports()) sum += flow.ledger;
    }
    EXPECT_EQ(sum.accepted, accepted_);
    EXPECT_GT(sum.delivered, 0u);
    EXPECT_EQ(sum.in_flight, 0u);
    EXPECT_TRUE(sum.Balances())
        << sum.accepted << " accepted, " << sum.delivered << " delivered, "
        << sum.dropped_total() << " dropped";
  }

  mycelium::RawPublisher Publishing(PublisherOptions options = {}) {
    auto publisher = writer_->RawPublisher(type_, "", options);
    EXPECT_TRUE(publisher.ok()) << publisher.status();
    EXPECT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
    return *std::move(publisher);
  }

  // For a writer that runs only while it is polled.
  mycelium::RawPublisher PublishingUnpolled() {
    auto publisher = writer_->RawPublisher(type_, "", impatient_);
    EXPECT_TRUE(publisher.ok()) << publisher.status();
    const absl::Time end = absl::Now() + kLong;
    while (publisher->subscriber_count() == 0 && absl::Now() < end) {
      EXPECT_TRUE(writer_->Poll(absl::Milliseconds(1)).ok());
    }
    return *std::move(publisher);
  }
  void PollUntilNobodyListens(mycelium::RawPublisher& publisher) {
    const absl::Time end = absl::Now() + kLong;
    while (publisher.subscriber_count() > 0 && absl::Now() < end) {
      EXPECT_TRUE(writer_->Poll(absl::Milliseconds(1)).ok());
    }
  }
  void PublishUntilFull(mycelium::RawPublisher& publisher) {
    const uint64_t most = accepted_ + 5 * kCapacity / kLarge;
    while (accepted_ < most && Publish(publisher, kLarge).ok()) {
    }
    EXPECT_LT(accepted_, most) << "something gave room back";
  }

  absl::Status Publish(mycelium::RawPublisher& publisher, size_t size) {
    const absl::Status sent = publisher.Publish(Pattern(accepted_ + 1, size));
    if (sent.ok()) ++accepted_;
    return sent;
  }

  const MessageType type_ = RawMessageType("bytes");
  const ShortTempDir dir_;
  const std::string path_ = dir_.file("reader.shm");
  std::unique_ptr<MessageBus> reader_;
  std::optional<ShmEndpointHandle> endpoint_;
  PublisherOptions impatient_;
  std::unique_ptr<MessageBus> writer_;
  uint64_t accepted_ = 0;
};

TEST_F(ShmInPlaceTest, LargePulledMessageLiesInSharedMemory) {
  auto pull = *reader_->RawSubscriber(type_);
  auto publisher = Publishing();
  for (const size_t size : {kLarge, kSmall, kLarge}) {
    ASSERT_TRUE(Publish(publisher, size).ok());
    const auto got = pull.Receive(kLong);
    ASSERT_TRUE(got.ok()) << got.status();
    ASSERT_EQ(got->size(), size);
    ExpectPattern(*got, accepted_);
    EXPECT_EQ(IsShared(*got), size == kLarge) << MappedFileAt(got->data()).name;
  }
  (void)pull.TryReceive();  // Gives the room of the last one back.
}

TEST_F(ShmInPlaceTest, LargeQueuedMessageIsHandledInSharedMemory) {
  SubscriberOptions options;
  options.delivery = DeliveryMode::kQueued;
  Notification handled;
  bool is_shared = false;
  auto handle = *reader_->SubscribeRaw(
      type_,
      [&](Bytes bytes, const MessageInfo&) {
        ExpectPattern(bytes, 1);
        is_shared = IsShared(bytes);
        handled.Notify();
      },
      options);
  auto publisher = Publishing();
  ASSERT_TRUE(Publish(publisher, kLarge).ok());
  ASSERT_TRUE(handled.WaitForNotificationWithTimeout(kLong));
  EXPECT_TRUE(is_shared);
}

// The writer of a lossy lane can go round only one message, and that one is let
// go when the connection ends.
TEST_F(ShmInPlaceTest, LargeMessageOfALossyLaneIsCopied) {
  SubscriberOptions options;
  options.overflow = Overflow::kLatest;
  auto pull = *reader_->RawSubscriber(type_, options);
  auto publisher = Publishing();
  ASSERT_TRUE(Publish(publisher, kLarge).ok());
  const auto got = pull.Receive(kLong);
  ASSERT_TRUE(got.ok()) << got.status();
  ExpectPattern(*got, 1);
  EXPECT_FALSE(IsShared(*got));
  (void)pull.TryReceive();
}

// A process of the same user can do worse than change bytes that are read.
TEST_F(ShmInPlaceTest, LargeMessageOfAnotherUserIsCopied) {
  constexpr int64_t kTheirs = 54321;
  static TwoUsersSys sys(kTheirs);
  static Environment environment{sys, Environment::Real().clock,
                                 Environment::Real().waiter};
  BusOptions options;
  options.environment = &environment;
  options.allow_uids = {kTheirs};
  writer_.reset();
  OpenReader(options);
  OpenWriter(PollMode::kThread);
  std::vector<bool> shared;
  Notification handled;
  auto handle =
      *reader_->SubscribeRaw(type_, [&](Bytes bytes, const MessageInfo&) {
        ExpectPattern(bytes, accepted_ + 1);
        shared.push_back(IsShared(bytes));
        handled.Notify();
      });
  auto publisher = Publishing();
  ASSERT_TRUE(publisher.Publish(Pattern(1, kLarge)).ok());
  ASSERT_TRUE(writer_->Flush(kLong).ok());
  // ThreadSanitizer does not see what is told through two mappings.
  ASSERT_TRUE(handled.WaitForNotificationWithTimeout(kLong));
  ++accepted_;
  EXPECT_EQ(shared, std::vector<bool>{false});
  SubscriberOptions pulled;
  pulled.topic = "pulled";
  auto pull = *reader_->RawSubscriber(type_, pulled);
  PublisherOptions pulled_by;
  pulled_by.topic = pulled.topic;
  auto other = Publishing(pulled_by);
  ASSERT_TRUE(Publish(other, kLarge).ok());
  const auto got = pull.Receive(kLong);
  ASSERT_TRUE(got.ok()) << got.status();
  ExpectPattern(*got, accepted_);
  EXPECT_FALSE(IsShared(*got)) << MappedFileAt(got->data()).name;
  (void)pull.TryReceive();
}

TEST_F(ShmInPlaceTest, HeldMessageStaysWhileThePublisherFillsTheLane) {
  auto pull = *reader_->RawSubscriber(type_);
  auto publisher = Publishing(impatient_);
  uint64_t received = 0;
  for (int lap = 0; lap < 5; ++lap) {
    PublishUntilFull(publisher);
    const auto held = pull.Receive(kLong);
    ASSERT_TRUE(held.ok()) << held.status();
    ASSERT_TRUE(IsShared(*held));
    // No room is free but that of the messages before the held one.
    PublishUntilFull(publisher);
    ExpectPattern(*held, ++received);
    while (received < accepted_ - 2) {
      const auto got = pull.Receive(kLong);
      ASSERT_TRUE(got.ok()) << got.status();
      ExpectPattern(*got, ++received);
    }
  }
  EXPECT_GT(accepted_, 3 * kCapacity / kLarge);
  while (received < accepted_) {
    const auto got = pull.Receive(kLong);
    ASSERT_TRUE(got.ok()) << got.status();
    ExpectPattern(*got, ++received);
  }
  (void)pull.TryReceive();
}

// In both of these tests the publisher does not hear of the end, and fills the
// lane to its last byte.

TEST_F(ShmInPlaceTest, HeldMessageOutlivesTheEndOfItsBus) {
  OpenWriter(PollMode::kCaller);
  auto pull = *reader_->RawSubscriber(type_);
  auto publisher = PublishingUnpolled();
  ASSERT_TRUE(Publish(publisher, kLarge).ok());
  const auto held = pull.Receive(kLong);
  ASSERT_TRUE(held.ok()) << held.status();
  ASSERT_TRUE(IsShared(*held));
  PublishUntilFull(publisher);
  ASSERT_TRUE(reader_->Shutdown(absl::ZeroDuration()).ok());
  PublishUntilFull(publisher);
  ExpectPattern(*held, 1);
  PollUntilNobodyListens(publisher);
}

TEST_F(ShmInPlaceTest, HeldMessageOutlivesItsSubscription) {
  OpenWriter(PollMode::kCaller);
  SubscriberOptions options;
  options.delivery = DeliveryMode::kQueued;
  SubscriptionHandle handle;
  Notification ended, full, handled;
  handle = *reader_->SubscribeRaw(
      type_,
      [&](Bytes bytes, const MessageInfo&) {
        EXPECT_TRUE(IsShared(bytes));
        handle.Unsubscribe();
        ended.Notify();
        full.WaitForNotification();
        ExpectPattern(bytes, 1);
        handled.Notify();
      },
      options);
  auto publisher = PublishingUnpolled();
  ASSERT_TRUE(Publish(publisher, kLarge).ok());
  ASSERT_TRUE(ended.WaitForNotificationWithTimeout(kLong));
  // Messages that arrive now are dropped on arrival, and their room lies behind
  // the held message's.
  PublishUntilFull(publisher);
  full.Notify();
  ASSERT_TRUE(handled.WaitForNotificationWithTimeout(kLong));
  PollUntilNobodyListens(publisher);
}

// The reader is in this process; the writer is a process that can be killed.
class ShmKilledPublisherTest : public ProcessTest {};

TEST_F(ShmKilledPublisherTest, WhatItHasPublishedIsReadInPlaceAfterItsDeath) {
  Notification gone;
  BusOptions options;
  options.on_connection = [&](const ConnectionEvent& event) {
    if (event.state == ConnectionEvent::State::kGone &&
        !gone.HasBeenNotified()) {
      gone.Notify();
    }
  };
  auto bus =
      *MessageBus::FromTopology(dir_.file("topology.toml"), "reader", options);
  auto pull = *bus->RawSubscriber(MessageTypeOf<Note>());
  auto writer = Start("publish", 1, {absl::StrCat("--bytes=", kLarge)});
  writer->Await("ready");
  ASSERT_EQ(writer->Ask("wait 1", "waited"), "OK");
  ASSERT_EQ(writer->Ask("publish 8", "published").substr(0, 2), "OK");
  Note note;
  const auto held = pull.Receive(kLong);
  ASSERT_TRUE(held.ok()) << held.status();
  ASSERT_TRUE(IsShared(*held));
  const std::vector<std::byte> before(held->begin(), held->end());
  writer->Kill();
  ASSERT_TRUE(gone.WaitForNotificationWithTimeout(kLong));
  // The writer's successor has memory of its own.
  auto successor = Start("publish", 2, {absl::StrCat("--bytes=", kLarge)});
  successor->Await("ready");
  ASSERT_EQ(successor->Ask("wait 1", "waited"), "OK");
  ASSERT_EQ(successor->Ask("publish 8", "published").substr(0, 2), "OK");
  EXPECT_EQ(*held, Bytes(before));
  for (uint64_t number = 2; number <= 16; ++number) {
    const auto got = pull.Receive(kLong);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_TRUE(IsShared(*got));
    ASSERT_TRUE(
        note.ParseFromArray(got->data(), static_cast<int>(got->size())));
    EXPECT_EQ(note.id(), number <= 8 ? number : number - 8);
    EXPECT_EQ(note.blob(), std::string(kLarge, BlobFillOf(note.id())));
  }
  (void)pull.TryReceive();
  EXPECT_EQ(successor->Ask("flush", "flushed"), "OK");
  const Counted sent = LedgerOf(*successor);
  EXPECT_EQ(sent.accepted, 8u);
  EXPECT_EQ(sent.dropped + sent.in_flight, 0u);
  uint64_t delivered = 0;
  for (const FlowReport& flow : bus->FlowReports()) {
    delivered += flow.ledger.delivered;
    EXPECT_EQ(flow.ledger.dropped_total(), 0u);
  }
  EXPECT_EQ(delivered, 16u);
}

}  // namespace
}  // namespace mycelium::test
