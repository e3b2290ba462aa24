#ifndef TESTS_CONFORMANCE_TWO_WAY_SIDE_H_
#define TESTS_CONFORMANCE_TWO_WAY_SIDE_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "tests/conformance/peer_page.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {

// A bus that publishes one topic and has two subscriptions to the other, for
// tests of what happens between two such buses.
class TwoWaySide final {
 public:
  static constexpr absl::Duration kLong = absl::Seconds(20);

  // Lanes are small and outlive their connections for long; dialling is quick.
  static BusOptions Options() {
    BusOptions options;
    options.log = [](LogLevel, absl::string_view) {};
    options.settings.lane_bytes = 256 << 10;
    options.settings.retain = kLong;
    options.settings.publish_timeout = kLong;
    options.limits.frame_bytes_max = 16 << 10;
    options.limits.reconnect_min = absl::Milliseconds(1);
    options.limits.reconnect_max = absl::Milliseconds(5);
    return options;
  }

  TwoWaySide(const std::string& node, const std::string& sends,
             const std::string& gets, uint64_t messages, BusOptions options)
      : sends_(sends), messages_(messages) {
    options.node = node;
    options.on_connection = [this](const ConnectionEvent& event) {
      if (event.state == ConnectionEvent::State::kGone) ++gone_;
      if (event.state == ConnectionEvent::State::kReconnected) ++reconnected_;
      if (event.state == ConnectionEvent::State::kDisconnected) {
        ++disconnected_;
      }
      // A connection that was cut gives UNAVAILABLE; during a handshake the cut
      // may look like silence.
      if (!event.status.ok() && !absl::IsUnavailable(event.status) &&
          !absl::IsDeadlineExceeded(event.status)) {
        ++complaints_;
        std::cout << event.status << "\n";
      }
    };
    auto bus = MessageBus::Create(options);
    EXPECT_TRUE(bus.ok()) << bus.status();
    bus_ = *std::move(bus);
    SubscriberOptions wanted;
    wanted.topic = gets;
    wanted.name = "inline";
    auto handle = bus_->Subscribe<Note>(
        [this](const Note& note, const MessageInfo& info) {
          Record(note, info, handled_);
        },
        wanted);
    EXPECT_TRUE(handle.ok()) << handle.status();
    handle_ = *std::move(handle);
    wanted.name = "pull";
    auto subscriber = bus_->Subscriber<Note>(wanted);
    EXPECT_TRUE(subscriber.ok()) << subscriber.status();
    pull_.emplace(*std::move(subscriber));
  }

  // Publishes and receives on two threads, until Join(). `published` is called
  // with the id of each published message.
  void Start(const std::function<void(uint64_t id)>& published) {
    publishing_ = std::thread([this, published] { PublishAll(published); });
    pulling_ = std::thread([this] { PullAll(); });
  }
  void Join() {
    publishing_.join();
    pulling_.join();
  }

  // To be called once both buses are flushed; a message behind the last one
  // counts, too.
  void ExpectEachOnceInOrder() {
    PullWhatIsThere();
    for (const ReceivedIds* ids : {&handled_, &pulled_}) {
      EXPECT_EQ(ids->first, 1u);
      EXPECT_EQ(ids->last, messages_);
      EXPECT_EQ(ids->count, messages_);
      EXPECT_EQ(ids->gaps, 0u);
      EXPECT_EQ(ids->duplicates, 0u);
      EXPECT_EQ(ids->torn, 0u);
    }
    // Both processes live.
    EXPECT_EQ(redelivered_, 0u);
  }

  // Two subscriptions at the peer, two here.
  void ExpectBalance() const {
    Ledger sum;
    for (const FlowReport& flow : bus_->FlowReports()) sum += flow.ledger;
    EXPECT_EQ(sum.accepted, 2 * messages_);
    EXPECT_EQ(sum.delivered, 2 * messages_);
    EXPECT_EQ(sum.in_flight, 0u);
    EXPECT_EQ(sum.dropped_total(), 0u);
  }

  MessageBus& bus() { return *bus_; }
  uint64_t gone() const { return gone_; }
  uint64_t reconnected() const { return reconnected_; }
  uint64_t disconnected() const { return disconnected_; }
  uint64_t complaints() const { return complaints_; }

 private:
  // Some are longer than one read takes.
  static std::string BlobOf(uint64_t id) {
    return std::string(id % 500 == 0 ? 9'000 : id % 97, BlobFillOf(id));
  }

  void Record(const Note& note, const MessageInfo& info, ReceivedIds& ids) {
    ids.Record(note.id());
    if (note.blob() != BlobOf(note.id())) ++ids.torn;
    if (info.redelivered()) ++redelivered_;
  }

  void PublishAll(const std::function<void(uint64_t id)>& published) {
    PublisherOptions options;
    options.topic = sends_;
    auto publisher = bus_->Publisher<Note>(options);
    ASSERT_TRUE(publisher.ok()) << publisher.status();
    ASSERT_TRUE(publisher->WaitForSubscribers(2, kLong).ok());
    const auto deadline =
        std::chrono::steady_clock::now() + std::chrono::seconds(60);
    Note note;
    for (uint64_t id = 1; id <= messages_;) {
      note.set_id(id);
      note.set_blob(BlobOf(id));
      const absl::Status sent = publisher->Publish(note);
      if (sent.ok()) {
        published(id++);
        continue;
      }
      // The lane is full, and the peer is being dialled.
      ASSERT_EQ(sent.code(), absl::StatusCode::kUnavailable) << sent;
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "at id " << id;
      std::this_thread::yield();
    }
    published_.emplace(*std::move(publisher));
  }

  void PullAll() {
    while (pulled_.last < messages_) {
      auto note = pull_->Receive(kLong);
      ASSERT_TRUE(note.ok()) << note.status() << " after " << pulled_.last;
      Record(**note, pull_->info(), pulled_);
    }
    PullWhatIsThere();
  }

  // Until there is none; the last call finishes the last message.
  void PullWhatIsThere() {
    while (true) {
      auto note = pull_->TryReceive();
      ASSERT_TRUE(note.ok()) << note.status();
      if (*note == nullptr) return;
      Record(**note, pull_->info(), pulled_);
    }
  }

  const std::string sends_;
  const uint64_t messages_;
  std::atomic<uint64_t> gone_{0};
  std::atomic<uint64_t> reconnected_{0};
  std::atomic<uint64_t> disconnected_{0};
  std::atomic<uint64_t> complaints_{0};
  std::atomic<uint64_t> redelivered_{0};
  ReceivedIds handled_ = {};
  ReceivedIds pulled_ = {};
  std::unique_ptr<MessageBus> bus_;
  SubscriptionHandle handle_;
  std::optional<Subscriber<Note>> pull_;
  std::optional<Publisher<Note>> published_;
  std::thread publishing_;
  std::thread pulling_;
};

}  // namespace mycelium::test

#endif  // TESTS_CONFORMANCE_TWO_WAY_SIDE_H_
