// One thread that publishes a message and polls it out of the other buses,
// again and again: for a profiler that counts instructions, which other work on
// the machine does not disturb. Prints only errors.
//
//   bazel build -c opt --copt=-g //tests/benchmark:hot_path
//   valgrind --tool=callgrind --toggle-collect='*MeasuredPart*'
//       bazel-bin/tests/benchmark/hot_path --transport=shm
//
// '*PublishingPart*' leaves the polls out: it shows what a message costs the
// publisher, for one subscriber or for --subscribers=8.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shm_endpoint.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

ABSL_FLAG(std::string, transport, "shm", "inproc, unix or shm");
ABSL_FLAG(std::string, delivery, "inline", "inline; or pull, of raw messages");
ABSL_FLAG(std::string, kind, "raw", "raw or protobuf");
ABSL_FLAG(size_t, subscribers, 1, "buses that receive; over inproc it is 1");
ABSL_FLAG(size_t, bytes, 64, "of a message");
ABSL_FLAG(uint64_t, messages, 20'000, "that are counted");
ABSL_FLAG(uint64_t, burst, 1, "messages published before each is received");

namespace mycelium::bench {
namespace {

constexpr uint64_t kWarmUp = 2'000;

absl::Status CheckWord(absl::string_view flag, absl::string_view word,
                       const std::vector<absl::string_view>& known) {
  if (std::find(known.begin(), known.end(), word) != known.end()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--", flag, "=", word, ": known: ", absl::StrJoin(known, ", ")));
}

absl::Status CheckFlags() {
  const std::string transport = absl::GetFlag(FLAGS_transport);
  const std::string delivery = absl::GetFlag(FLAGS_delivery);
  const std::string kind = absl::GetFlag(FLAGS_kind);
  const size_t subscribers = absl::GetFlag(FLAGS_subscribers);
  absl::Status status =
      CheckWord("transport", transport, {"inproc", "unix", "shm"});
  status.Update(CheckWord("delivery", delivery, {"inline", "pull"}));
  status.Update(CheckWord("kind", kind, {"raw", "protobuf"}));
  if (!status.ok()) return status;
  if (subscribers == 0 || absl::GetFlag(FLAGS_burst) == 0) {
    return absl::InvalidArgumentError("--subscribers and --burst are above 0");
  }
  if (transport == "inproc" && subscribers != 1) {
    return absl::InvalidArgumentError("over inproc there is one subscriber");
  }
  if (delivery == "pull" && kind != "raw") {
    return absl::InvalidArgumentError("only raw messages can be pulled here");
  }
  return absl::OkStatus();
}

class HotPath final {
 public:
  absl::Status Open() {
    const bool one_bus = absl::GetFlag(FLAGS_transport) == "inproc";
    first_ = *MessageBus::Create(OptionsOf("first"));
    const size_t count = absl::GetFlag(FLAGS_subscribers);
    for (size_t i = 0; i < count; ++i) {
      receivers_.push_back(std::make_unique<Receiver>());
      Receiver& receiver = *receivers_.back();
      receiver.bus = first_;
      if (!one_bus) {
        if (absl::Status joined = Join(i, receiver); !joined.ok()) {
          return joined;
        }
      }
      if (absl::Status subscribed = Subscribe(receiver); !subscribed.ok()) {
        return subscribed;
      }
    }
    note_.set_blob(std::string(bytes_.size(), 'x'));
    publisher_.emplace(*first_->RawPublisher(type_));
    note_publisher_.emplace(*first_->Publisher<test::Note>());
    PublisherBase& used =
        is_raw_ ? static_cast<PublisherBase&>(*publisher_) : *note_publisher_;
    while (used.subscriber_count() < count) {
      if (absl::Status turned = PollAll(); !turned.ok()) return turned;
    }
    return Run(kWarmUp);
  }

  absl::Status Run(uint64_t messages) {
    const uint64_t end = published_ + messages;
    while (published_ < end) {
      for (uint64_t i = 0; i < burst_ && published_ < end; ++i) {
        if (absl::Status sent = PublishingPart(); !sent.ok()) return sent;
        ++published_;
      }
      for (const auto& receiver : receivers_) {
        while (receiver->received < published_) {
          if (absl::Status turned = Turn(*receiver); !turned.ok()) {
            return turned;
          }
        }
      }
    }
    return absl::OkStatus();
  }

 private:
  struct Receiver {
    std::shared_ptr<MessageBus> bus;
    std::optional<EndpointHandle> endpoint;
    std::optional<SubscriptionHandle> handle;
    std::optional<RawSubscriber> pull;
    uint64_t received = 0;
  };

  static BusOptions OptionsOf(const std::string& node) {
    BusOptions options;
    options.node = node;
    options.poll = PollMode::kCaller;
    options.wait = WaitMode::kSpin;
    return options;
  }

  absl::Status Join(size_t number, Receiver& receiver) {
    receiver.bus =
        *MessageBus::Create(OptionsOf(absl::StrCat("receiver", number)));
    const std::string path = folder_.file(absl::StrCat(number));
    const bool is_shm = absl::GetFlag(FLAGS_transport) == "shm";
    if (is_shm) {
      auto endpoint = BindShmEndpoint(path, *receiver.bus);
      if (!endpoint.ok()) return endpoint.status();
      receiver.endpoint.emplace(*std::move(endpoint));
      return DialShmEndpoint(path, *first_);
    }
    auto endpoint = BindUnixEndpoint(path, *receiver.bus);
    if (!endpoint.ok()) return endpoint.status();
    receiver.endpoint.emplace(*std::move(endpoint));
    return DialUnixEndpoint(path, *first_);
  }

  absl::Status Subscribe(Receiver& receiver) {
    if (!is_raw_) {
      auto handle = receiver.bus->Subscribe<test::Note>(
          [&receiver](const test::Note&, const MessageInfo&) {
            ++receiver.received;
          });
      if (!handle.ok()) return handle.status();
      receiver.handle.emplace(*std::move(handle));
    } else if (absl::GetFlag(FLAGS_delivery) == "pull") {
      receiver.pull.emplace(*receiver.bus->RawSubscriber(type_));
    } else {
      receiver.handle.emplace(*receiver.bus->SubscribeRaw(
          type_, [&receiver](absl::Span<const std::byte>, const MessageInfo&) {
            ++receiver.received;
          }));
    }
    return absl::OkStatus();
  }

  absl::Status PollAll() {
    if (auto ran = first_->Poll(absl::Milliseconds(1)); !ran.ok()) {
      return ran.status();
    }
    for (const auto& receiver : receivers_) {
      if (auto ran = receiver->bus->Poll(absl::Milliseconds(1)); !ran.ok()) {
        return ran.status();
      }
    }
    return absl::OkStatus();
  }

  __attribute__((noinline)) absl::Status PublishingPart() {
    return is_raw_ ? publisher_->Publish(bytes_)
                   : note_publisher_->Publish(note_);
  }

  absl::Status Turn(Receiver& receiver) {
    if (receiver.pull.has_value()) {
      auto got = receiver.pull->TryReceive();
      if (!got.ok()) return got.status();
      if (got->has_value()) {
        ++receiver.received;
        return absl::OkStatus();
      }
    }
    const auto ran = receiver.bus->Poll(absl::ZeroDuration());
    if (!ran.ok() || *ran) return ran.status();
    // Over a socket, sends what did not go at once.
    return first_->Poll(absl::ZeroDuration()).status();
  }

  const uint64_t burst_ = absl::GetFlag(FLAGS_burst);
  const bool is_raw_ = absl::GetFlag(FLAGS_kind) == "raw";
  const MessageType type_ = RawMessageType("bytes");
  const std::vector<std::byte> bytes_ =
      std::vector<std::byte>(absl::GetFlag(FLAGS_bytes));
  test::Note note_;
  test::ShortTempDir folder_;
  std::shared_ptr<MessageBus> first_;
  std::vector<std::unique_ptr<Receiver>> receivers_;
  std::optional<RawPublisher> publisher_;
  std::optional<Publisher<test::Note>> note_publisher_;
  uint64_t published_ = 0;
};

// The function that the profiler is told to look at.
__attribute__((noinline)) absl::Status MeasuredPart(HotPath& path) {
  return path.Run(absl::GetFlag(FLAGS_messages));
}

int Fail(const absl::Status& status, int exit_status) {
  std::fprintf(stderr, "hot_path: %s\n", status.ToString().c_str());
  return exit_status;
}

int Main() {
  absl::Status status = CheckFlags();
  if (!status.ok()) return Fail(status, 2);
  HotPath path;
  status = path.Open();
  if (status.ok()) status = MeasuredPart(path);
  return status.ok() ? 0 : Fail(status, 1);
}

}  // namespace
}  // namespace mycelium::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("publishes and polls, for a profiler");
  absl::ParseCommandLine(argc, argv);
  return mycelium::bench::Main();
}
