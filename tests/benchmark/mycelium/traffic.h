#ifndef TESTS_BENCHMARK_MYCELIUM_TRAFFIC_H_
#define TESTS_BENCHMARK_MYCELIUM_TRAFFIC_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mycelium/bus/message_bus.h"
#include "tests/benchmark/clock.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::bench {

// What is sent: numbered messages of one kind and size; four classes of the
// same shape. Publish() sends the message with a number; Subscribe() calls a
// handler with the number of each message that arrives, and Receive() pulls
// one. IsNumber() tells whether the number that arrived is the expected one.
//
// They are template arguments and not an interface, because the measurement
// would include a virtual call.

inline PublisherOptions PublisherOn(const std::string& topic) {
  PublisherOptions options;
  options.topic = topic;
  // A flood is about publishers that wait; only a hang ends such a wait.
  options.publish_timeout = absl::Seconds(20);
  return options;
}

inline SubscriberOptions SubscriberOn(const std::string& topic) {
  SubscriberOptions options;
  options.topic = topic;
  return options;
}

// Bytes.
class RawTraffic {
 public:
  using Publisher = RawPublisher;
  using Subscriber = RawSubscriber;

  explicit RawTraffic(size_t bytes) : bytes_(bytes, std::byte{'x'}) {}

  static absl::StatusOr<Publisher> MakePublisher(MessageBus& bus,
                                                 const std::string& topic) {
    return bus.RawPublisher(Type(), "", PublisherOn(topic));
  }
  static absl::StatusOr<Subscriber> MakeSubscriber(MessageBus& bus,
                                                   const std::string& topic) {
    return bus.RawSubscriber(Type(), SubscriberOn(topic));
  }
  template <typename Handler>
  static absl::StatusOr<SubscriptionHandle> Subscribe(MessageBus& bus,
                                                      const std::string& topic,
                                                      Handler handler) {
    return bus.SubscribeRaw(
        Type(),
        [handler = std::move(handler)](absl::Span<const std::byte> bytes,
                                       const MessageInfo&) mutable {
          handler(NumberOf(bytes));
        },
        SubscriberOn(topic));
  }

  absl::Status Publish(Publisher& publisher, int64_t number) {
    std::memcpy(bytes_.data(), &number, sizeof number);
    return publisher.Publish(bytes_);
  }
  static absl::StatusOr<int64_t> Receive(Subscriber& subscriber,
                                         absl::Duration timeout) {
    const absl::StatusOr<absl::Span<const std::byte>> bytes =
        subscriber.Receive(timeout);
    if (!bytes.ok()) return bytes.status();
    return NumberOf(*bytes);
  }
  static absl::StatusOr<std::optional<int64_t>> TryReceive(
      Subscriber& subscriber) {
    const absl::StatusOr<std::optional<absl::Span<const std::byte>>> bytes =
        subscriber.TryReceive();
    if (!bytes.ok()) return bytes.status();
    if (!bytes->has_value()) return std::optional<int64_t>();
    return std::make_optional(NumberOf(**bytes));
  }
  static bool IsNumber(int64_t got, int64_t wanted) { return got == wanted; }

 private:
  static MessageType Type() { return RawMessageType("mycelium.bench.Bytes"); }
  static int64_t NumberOf(absl::Span<const std::byte> bytes) {
    int64_t number;
    std::memcpy(&number, bytes.data(), sizeof number);
    Consume(bytes.data());
    return number;
  }

  std::vector<std::byte> bytes_;
};

// Bytes in a loan; only the first ones are written, the others are what an
// earlier user of the memory left there.
class LoanTraffic final : public RawTraffic {
 public:
  explicit LoanTraffic(size_t bytes) : RawTraffic(0), size_(bytes) {}

  absl::Status Publish(Publisher& publisher, int64_t number) {
    absl::StatusOr<Loan> loan = publisher.Loan(size_);
    if (!loan.ok()) return loan.status();
    std::memcpy(loan->bytes().data(), &number, sizeof number);
    return loan->Publish();
  }

 private:
  const size_t size_;
};

// A Protobuf message that is changed and published by reference.
class NoteTraffic {
 public:
  using Publisher = ::mycelium::Publisher<test::Note>;
  using Subscriber = ::mycelium::Subscriber<test::Note>;

  explicit NoteTraffic(size_t bytes) { note_.set_blob(BlobOf(bytes)); }

  static absl::StatusOr<Publisher> MakePublisher(MessageBus& bus,
                                                 const std::string& topic) {
    return bus.Publisher<test::Note>(PublisherOn(topic));
  }
  static absl::StatusOr<Subscriber> MakeSubscriber(MessageBus& bus,
                                                   const std::string& topic) {
    return bus.Subscriber<test::Note>(SubscriberOn(topic));
  }
  template <typename Handler>
  static absl::StatusOr<SubscriptionHandle> Subscribe(MessageBus& bus,
                                                      const std::string& topic,
                                                      Handler handler) {
    return bus.Subscribe<test::Note>(
        [handler = std::move(handler)](const test::Note& note,
                                       const MessageInfo&) mutable {
          handler(NumberOf(note));
        },
        SubscriberOn(topic));
  }

  absl::Status Publish(Publisher& publisher, int64_t number) {
    note_.set_id(static_cast<uint64_t>(number));
    return publisher.Publish(note_);
  }
  static absl::StatusOr<int64_t> Receive(Subscriber& subscriber,
                                         absl::Duration timeout) {
    const absl::StatusOr<const test::Note*> note = subscriber.Receive(timeout);
    if (!note.ok()) return note.status();
    return NumberOf(**note);
  }
  static absl::StatusOr<std::optional<int64_t>> TryReceive(
      Subscriber& subscriber) {
    const absl::StatusOr<const test::Note*> note = subscriber.TryReceive();
    if (!note.ok()) return note.status();
    if (*note == nullptr) return std::optional<int64_t>();
    return std::make_optional(NumberOf(**note));
  }
  static bool IsNumber(int64_t got, int64_t wanted) { return got == wanted; }

  // A blob that makes a serialised note about `bytes` long.
  static std::string BlobOf(size_t bytes) {
    constexpr size_t kIdAndTags = 8;
    return std::string(bytes - kIdAndTags, 'x');
  }

 private:
  static int64_t NumberOf(const test::Note& note) {
    Consume(note.blob().data());
    return static_cast<int64_t>(note.id());
  }

  test::Note note_;
};

// Protobuf messages that are published by pointer. They were made beforehand,
// so only the bus's own allocations are counted.
class SharedNoteTraffic final : public NoteTraffic {
 public:
  explicit SharedNoteTraffic(size_t bytes) : NoteTraffic(bytes) {
    for (int64_t i = 0; i < kNotes; ++i) {
      auto note = std::make_shared<test::Note>();
      note->set_id(static_cast<uint64_t>(i));
      note->set_blob(BlobOf(bytes));
      notes_[i] = std::move(note);
    }
  }

  absl::Status Publish(Publisher& publisher, int64_t number) {
    return publisher.Publish(notes_[number % kNotes]);
  }
  static bool IsNumber(int64_t got, int64_t wanted) {
    return got == wanted % kNotes;
  }

 private:
  static constexpr int64_t kNotes = 16;

  std::shared_ptr<const test::Note> notes_[kNotes];
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_MYCELIUM_TRAFFIC_H_
