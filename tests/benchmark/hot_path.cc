// One thread that publishes a message and polls it out of the other bus, again
// and again: for a profiler that counts instructions, which no other work on
// the machine disturbs. Prints nothing of its own but an error.
//
//   bazel build -c opt --copt=-g //tests/benchmark:hot_path
//   valgrind --tool=callgrind --toggle-collect='*MeasuredPart*'
//       bazel-bin/tests/benchmark/hot_path --transport=shm

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
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shm_endpoint.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/support/short_temp_dir.h"

ABSL_FLAG(std::string, transport, "shm", "inproc, unix or shm");
ABSL_FLAG(std::string, delivery, "inline", "inline or pull");
ABSL_FLAG(size_t, bytes, 64, "of a message");
ABSL_FLAG(uint64_t, messages, 20'000, "that are counted");

namespace mycelium::bench {
namespace {

constexpr uint64_t kWarmUp = 2'000;

class HotPath final {
 public:
  absl::Status Open() {
    const bool one_bus = absl::GetFlag(FLAGS_transport) == "inproc";
    first_ = *MessageBus::Create(OptionsOf("first"));
    second_ = first_;
    if (!one_bus) second_ = *MessageBus::Create(OptionsOf("second"));
    const std::string path = folder_.file("socket");
    if (absl::GetFlag(FLAGS_transport) == "shm") {
      auto endpoint = BindShmEndpoint(path, *second_);
      if (!endpoint.ok()) return endpoint.status();
      endpoint_.emplace(*std::move(endpoint));
      if (absl::Status dialled = DialShmEndpoint(path, *first_); !dialled.ok())
        return dialled;
    } else if (!one_bus) {
      auto endpoint = BindUnixEndpoint(path, *second_);
      if (!endpoint.ok()) return endpoint.status();
      endpoint_.emplace(*std::move(endpoint));
      if (absl::Status dialled = DialUnixEndpoint(path, *first_);
          !dialled.ok()) {
        return dialled;
      }
    }
    if (absl::GetFlag(FLAGS_delivery) == "pull") {
      pull_.emplace(*second_->RawSubscriber(type_));
    } else {
      handle_.emplace(*second_->SubscribeRaw(
          type_, [this](absl::Span<const std::byte>, const MessageInfo&) {
            ++received_;
          }));
    }
    publisher_.emplace(*first_->RawPublisher(type_));
    while (publisher_->subscriber_count() == 0) {
      for (MessageBus* const bus : {first_.get(), second_.get()}) {
        if (auto ran = bus->Poll(absl::Milliseconds(1)); !ran.ok()) {
          return ran.status();
        }
      }
    }
    return Run(kWarmUp);
  }

  absl::Status Run(uint64_t messages) {
    for (uint64_t i = 0; i < messages; ++i) {
      const uint64_t goal = received_ + 1;
      if (absl::Status sent = publisher_->Publish(bytes_); !sent.ok()) {
        return sent;
      }
      while (received_ < goal) {
        if (pull_.has_value()) {
          auto got = pull_->TryReceive();
          if (!got.ok()) return got.status();
          if (got->has_value()) {
            ++received_;
            continue;
          }
        }
        if (auto ran = second_->Poll(absl::ZeroDuration()); !ran.ok()) {
          return ran.status();
        }
      }
    }
    return absl::OkStatus();
  }

 private:
  static BusOptions OptionsOf(const char* node) {
    BusOptions options;
    options.node = node;
    options.poll = PollMode::kCaller;
    options.wait = WaitMode::kSpin;
    return options;
  }

  const MessageType type_ = RawMessageType("bytes");
  const std::vector<std::byte> bytes_ =
      std::vector<std::byte>(absl::GetFlag(FLAGS_bytes));
  test::ShortTempDir folder_;
  std::shared_ptr<MessageBus> first_, second_;
  std::optional<EndpointHandle> endpoint_;
  std::optional<SubscriptionHandle> handle_;
  std::optional<RawSubscriber> pull_;
  std::optional<RawPublisher> publisher_;
  uint64_t received_ = 0;
};

// What a profiler is told to look at.
__attribute__((noinline)) absl::Status MeasuredPart(HotPath& path) {
  return path.Run(absl::GetFlag(FLAGS_messages));
}

int Main() {
  HotPath path;
  absl::Status status = path.Open();
  if (status.ok()) status = MeasuredPart(path);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}

}  // namespace
}  // namespace mycelium::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("publishes and polls, for a profiler");
  absl::ParseCommandLine(argc, argv);
  return mycelium::bench::Main();
}
