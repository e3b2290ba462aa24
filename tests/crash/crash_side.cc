#include "tests/crash/crash_side.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "mycelium/base/clock.h"
#include "mycelium/base/waiter.h"
#include "mycelium/bus/message_bus.h"
#include "tests/crash/processes.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
// How often a process looks at the driver's phase.
constexpr absl::Duration kLook = absl::Milliseconds(1);
// Small, so that it is full and wraps within a few messages.
constexpr size_t kLaneBytes = 16 << 10;
constexpr size_t kFrameBytesMax = 4 << 10;
constexpr size_t kPayloadBytesMax = 1700;
// The depth of a lossy lane: fewer messages than are published without a pause.
constexpr int64_t kDepth = 4;

// A message: its number, the writer's life, and bytes that follow from both.
struct Head {
  uint64_t id;
  uint64_t run;
};

MessageType NumberType() {
  const std::string name = "mycelium.test.Number";
  return RawMessageType(name, Digest::Of(name));
}

std::byte FillOf(const Head& head, size_t at) {
  return static_cast<std::byte>(head.id * 31 + head.run * 7 + at);
}

std::vector<std::byte> MessageOf(const Head& head) {
  std::vector<std::byte> bytes(sizeof head + head.id * 397 % kPayloadBytesMax);
  std::memcpy(bytes.data(), &head, sizeof head);
  for (size_t i = sizeof head; i < bytes.size(); ++i) {
    bytes[i] = FillOf(head, i);
  }
  return bytes;
}

// The same message as an object of a type, like Protobuf's.
struct Number {
  Head head;
};

size_t BytesOfNumber(const void* number) {
  return MessageOf(static_cast<const Number*>(number)->head).size();
}

// Writes large messages into the claimed room, part by part, as Protobuf does.
void WriteNumber(const void* number, std::byte* out) {
  const std::vector<std::byte> bytes =
      MessageOf(static_cast<const Number*>(number)->head);
  const size_t parts[] = {0, sizeof(uint64_t), bytes.size() / 2, bytes.size()};
  for (size_t i = 0; i + 1 < std::size(parts); ++i) {
    PassCrashPoint();
    std::copy(bytes.data() + parts[i], bytes.data() + parts[i + 1],
              out + parts[i]);
  }
  PassCrashPoint();
}

}  // namespace
}  // namespace mycelium::test

namespace mycelium {

template <>
const MessageType& MessageTypeOf<test::Number>() {
  static const MessageType* const type = [] {
    auto* made = new MessageType(test::NumberType());
    made->byte_size = test::BytesOfNumber;
    made->serialize = test::WriteNumber;
    return made;
  }();
  return *type;
}

}  // namespace mycelium

namespace mycelium::test {
namespace {

class Side final {
 public:
  Side(const SideOptions& options, RunPage& page)
      : options_(options), page_(page) {}

  int Run() {
    if (options_.is_victim) {
      ArmCrashPoints(page_.victim, options_.kill_at_store,
                     options_.kill_at_call);
    }
    const size_t descriptors = OpenDescriptorsOf("self");
    const int opened = Open();
    if (opened != 0) return opened;
    const bool went_well = options_.writes ? Write() : Read();
    if (!went_well) return 1;
    // One of the other side's two lives is over: a lane and its loans are left.
    if (options_.survives && SharedMappingsOf("self") > 4) {
      return Fail(
          absl::StrCat(SharedMappingsOf("self"), " segments are mapped"));
    }
    SumUp();
    if (options_.is_victim) page_.leaves = true;
    if (const absl::Status shut = bus_->Shutdown(kLong); !shut.ok()) {
      return Fail(absl::StrCat("shutdown: ", shut.ToString()));
    }
    subscription_.reset();
    pull_.reset();
    publisher_.reset();
    typed_.reset();
    Close();
    bus_ = nullptr;
    if (OpenDescriptorsOf("self") != descriptors ||
        SharedMappingsOf("self") != 0) {
      return Fail(absl::StrCat("left: ", OpenDescriptorsOf("self"), " of ",
                               descriptors, " descriptors, ",
                               SharedMappingsOf("self"), " segments"));
    }
    return 0;
  }

 private:
  int Fail(const std::string& what) {
    if (page_.failure[0] == 0) {
      std::snprintf(page_.failure, sizeof page_.failure, "%s: %s",
                    options_.writes ? "writer" : "reader", what.c_str());
    }
    return 1;
  }

  int Open() {
    BusOptions options;
    options.node = options_.writes ? "writer" : "reader";
    options.poll = options_.has_thread ? PollMode::kThread : PollMode::kCaller;
    options.wait = options_.has_thread ? WaitMode::kAdaptive : WaitMode::kBlock;
    options.settings.lane_bytes = kLaneBytes;
    options.settings.retain = kLong;
    options.settings.publish_timeout = kLong;
    options.limits.frame_bytes_max = kFrameBytesMax;
    options.limits.reconnect_min = absl::Milliseconds(1);
    options.limits.reconnect_max = absl::Milliseconds(5);
    options.log = [](LogLevel, absl::string_view) {};
    options.on_connection = [this](const ConnectionEvent& event) {
      OnConnection(event);
    };
    if (options_.is_victim) options.environment = &environment_;
    auto bus = MessageBus::Create(options);
    if (!bus.ok()) return Fail(bus.status().ToString());
    bus_ = *std::move(bus);
    if (options_.dials) {
      const absl::Status dialled = bus_->runtime()->DialShm(options_.path);
      return dialled.ok() ? 0 : Fail(dialled.ToString());
    }
    auto listener = bus_->runtime()->ListenShm(options_.path);
    if (absl::IsAlreadyExists(listener.status())) return kPathTaken;
    if (!listener.ok()) return Fail(listener.status().ToString());
    listener_ = *listener;
    ++page_.listeners;
    Signal(page_.changed);
    return 0;
  }

  void Close() {
    if (!listener_.has_value()) return;
    (void)bus_->runtime()->StopListening(*listener_, kNever);
  }

  void OnConnection(const ConnectionEvent& event) {
    if (!options_.survives) return;
    switch (event.state) {
      case ConnectionEvent::State::kConnected:
      case ConnectionEvent::State::kReconnected:
        if (page_.up_at == 0) page_.up_at = NowNs();
        break;
      case ConnectionEvent::State::kDisconnected:
      case ConnectionEvent::State::kGone:
        if (page_.up_at != 0 && page_.down_at == 0) page_.down_at = NowNs();
        break;
      case ConnectionEvent::State::kRefused:
        break;
    }
  }

  // Lets the node work for a while, or until something has happened.
  absl::Status Turn(absl::Duration most) {
    if (!options_.has_thread) return bus_->Poll(most).status();
    AwaitNextChange(page_.changed, page_.changed, absl::ToTimespec(most));
    return absl::OkStatus();
  }

  bool AwaitPhase(uint32_t phase) {
    while (page_.phase < phase) {
      if (absl::Status ran = Turn(kLook); !ran.ok()) {
        return Fail(ran.ToString()) == 0;
      }
    }
    return true;
  }

  // Messages to a reader that had said goodbye before it was killed are
  // dropped, and counted, until the writer reads the goodbye.
  bool AwaitDeath() {
    while (page_.met && page_.down_at == 0) {
      if (absl::Status ran = Turn(kLook); !ran.ok()) {
        return Fail(ran.ToString()) == 0;
      }
    }
    return true;
  }

  bool Write() {
    auto publisher = bus_->RawPublisher(NumberType());
    if (!publisher.ok()) return Fail(publisher.status().ToString()) == 0;
    publisher_ = *std::move(publisher);
    auto typed = bus_->Publisher<Number>();
    if (!typed.ok()) return Fail(typed.status().ToString()) == 0;
    typed_.emplace(*std::move(typed));
    const uint64_t messages =
        options_.messages == 0 ? ~uint64_t{0} : options_.messages;
    if (!Publish(1, messages)) return false;
    if (options_.survives && !(AwaitPhase(2) && AwaitDeath() &&
                               Publish(messages + 1, 2 * messages))) {
      return false;
    }
    if (const absl::Status flushed = bus_->Flush(kLong); !flushed.ok()) {
      return Fail(absl::StrCat("flush: ", flushed.ToString())) == 0;
    }
    return !options_.survives || AwaitPhase(3);
  }

  bool Publish(uint64_t first, uint64_t last) {
    RunPage::Run& run = page_.runs[options_.run % RunPage::kRunsMax];
    absl::Status found = publisher_->WaitForSubscribers(1, kLong);
    if (found.ok()) found = typed_->WaitForSubscribers(1, kLong);
    if (!found.ok()) {
      return Fail(absl::StrCat("no subscriber: ", found.ToString())) == 0;
    }
    for (uint64_t id = first; id <= last; ++id) {
      run.attempted = id;
      const std::vector<std::byte> message = MessageOf({id, options_.run});
      absl::Status sent = Send(id, message);
      while (absl::IsUnavailable(sent)) {  // Full, and nobody reads it now.
        if (absl::Status ran = Turn(kLook); !ran.ok()) sent = ran;
        if (absl::IsUnavailable(sent)) sent = Send(id, message);
      }
      if (!sent.ok()) {
        return Fail(absl::StrCat("message ", id, ": ", sent.ToString())) == 0;
      }
      run.accepted = id;
      if (options_.has_thread) continue;
      // Gives the node a turn.
      if (auto ran = bus_->Poll(absl::ZeroDuration()); !ran.ok()) {
        return Fail(ran.status().ToString()) == 0;
      }
    }
    return true;
  }

  // A third of the messages are objects, and a third are loans; a loan that is
  // large enough is read where it is written.
  absl::Status Send(uint64_t id, const std::vector<std::byte>& message) {
    if (id % 3 == 0) return typed_->Publish(Number{{id, options_.run}});
    if (id % 3 == 1) return publisher_->Publish(message);
    auto loan = publisher_->Loan(message.size());
    if (!loan.ok()) return loan.status();
    std::copy(message.begin(), message.end(), loan->bytes().begin());
    return loan->Publish();
  }

  bool Read() {
    return options_.receiving == Receiving::kHandler ? ReadInHandler()
                                                     : ReadFromQueue();
  }

  bool ReadFromQueue() {
    SubscriberOptions options;
    if (options_.receiving == Receiving::kLossy) {
      options.overflow = Overflow::kDropOldest;
      options.depth = kDepth;
      options.window = 1;
    }
    auto pull = bus_->RawSubscriber(NumberType(), options);
    if (!pull.ok()) return Fail(pull.status().ToString()) == 0;
    pull_.emplace(*std::move(pull));
    const std::atomic<uint64_t>& last =
        page_.runs[options_.run % RunPage::kRunsMax].last;
    const auto is_over = [&] {
      return options_.survives
                 ? page_.phase >= 3
                 : options_.messages != 0 && last >= options_.messages;
    };
    while (!is_over()) {
      const absl::StatusOr<absl::Span<const std::byte>> bytes =
          pull_->Receive(kLook);
      if (bytes.ok()) {
        OnMessage(*bytes, pull_->info());
      } else if (!absl::IsDeadlineExceeded(bytes.status())) {
        return Fail(bytes.status().ToString()) == 0;
      }
    }
    pull_->Finish();
    return true;
  }

  bool ReadInHandler() {
    auto subscription = bus_->SubscribeRaw(
        NumberType(),
        [this](absl::Span<const std::byte> bytes, const MessageInfo& info) {
          OnMessage(bytes, info);
        });
    if (!subscription.ok()) return Fail(subscription.status().ToString()) == 0;
    subscription_ = *std::move(subscription);
    if (options_.survives) return AwaitPhase(3);
    const std::atomic<uint64_t>& last =
        page_.runs[options_.run % RunPage::kRunsMax].last;
    while (options_.messages == 0 || last < options_.messages) {
      const absl::Status ran = Turn(options_.has_thread ? kLook : kLong);
      if (!ran.ok()) return Fail(ran.ToString()) == 0;
    }
    return true;
  }

  void OnMessage(absl::Span<const std::byte> bytes, const MessageInfo& info) {
    PassCrashPoint();  // From here on it is the handler's.
    Head head;
    if (bytes.size() < sizeof head) {
      ++page_.torn;
      return;
    }
    std::memcpy(&head, bytes.data(), sizeof head);
    const std::vector<std::byte> expected = MessageOf(head);
    if (!std::equal(bytes.begin(), bytes.end(), expected.begin(),
                    expected.end())) {
      ++page_.torn;
      return;
    }
    ++page_.received;
    std::atomic<uint64_t>& last = page_.runs[head.run % RunPage::kRunsMax].last;
    if (head.id == last + 1) {
      last = head.id;
    } else if (head.id > last) {
      if (options_.receiving != Receiving::kLossy) ++page_.gaps;
      last = head.id;
    } else if (info.redelivered()) {
      ++page_.again;
    } else {
      ++page_.twice;
    }
    Signal(page_.changed);
  }

  void SumUp() {
    if (!options_.survives) return;
    for (const FlowReport& flow : bus_->FlowReports()) {
      page_.accepted += flow.ledger.accepted;
      page_.delivered += flow.ledger.delivered;
      page_.in_flight += flow.ledger.in_flight;
      page_.dropped += flow.ledger.dropped_total();
    }
  }

  const SideOptions& options_;
  RunPage& page_;
  CrashSys sys_;
  SystemClock clock_{sys_};
  SystemWaiter waiter_{sys_, clock_};
  Environment environment_{sys_, clock_, waiter_};
  std::unique_ptr<MessageBus> bus_;
  std::optional<uint64_t> listener_;
  std::optional<RawPublisher> publisher_;
  std::optional<Publisher<Number>> typed_;
  std::optional<SubscriptionHandle> subscription_;
  std::optional<RawSubscriber> pull_;
};

}  // namespace

int RunSide(const SideOptions& options, RunPage& page) {
  std::vector<char> ballast(options.ballast_bytes);
  for (size_t at = 0; at < ballast.size(); at += 4096) ballast[at] = 1;
  return Side(options, page).Run();
}

}  // namespace mycelium::test
