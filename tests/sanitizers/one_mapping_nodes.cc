// Two nodes of one process, linked by shared memory that both have at the same
// address, so that ThreadSanitizer sees the accesses of both: lanes, links,
// queues and loans as users have them. A thread writes to a ring that is being
// read, which is a race that must be reported. With "ordered" as the argument
// no thread does this, and nothing may be reported.

#include <sys/mman.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mycelium/base/environment.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shm_endpoint.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(60);
constexpr uint64_t kThreads = 2;
constexpr uint64_t kEach = 3'000;  // Messages of a thread, for each topic.
constexpr size_t kLaneBytes = 64 << 10;

// Maps each shared file once, however often it is mapped.
//
// Thread safety: all members may be called from any thread.
class OneMappingSys final : public Sys {
 public:
  void* Map(size_t bytes, int protection, int flags, int fd,
            int64_t* error) override {
    struct stat file;
    if (fd < 0 || (flags & MAP_SHARED) == 0 || Fstat(fd, &file) < 0) {
      return Sys::Map(bytes, protection, flags, fd, error);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto& [address, mapped] : mapped_) {
      if (mapped.file != file.st_ino) continue;
      ++mapped.users;
      ++shared_;
      return address;
    }
    void* const address = Sys::Map(bytes, protection, flags, fd, error);
    if (address != nullptr) mapped_[address] = {file.st_ino, bytes, 1};
    return address;
  }
  int64_t Unmap(void* address, size_t bytes) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto mapped = mapped_.find(address);
    if (mapped != mapped_.end()) {
      if (--mapped->second.users > 0) return 0;
      mapped_.erase(mapped);
    }
    return Sys::Unmap(address, bytes);
  }
  // With it both ends would have the fresh memory, which is for another process
  // only.
  int64_t MapOver(void*, size_t, int) override { return -ENOSYS; }

  uint64_t shared() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return shared_;
  }

  // Writes a byte in the middle of each ring again, unchanged.
  void Scribble() {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [address, mapped] : mapped_) {
      if (mapped.bytes < kLaneBytes || mapped.users < 2) continue;
      volatile char* const middle =
          static_cast<char*>(address) + mapped.bytes / 2;
      *middle = *middle;
    }
  }

 private:
  struct Mapped {
    ino_t file = 0;
    size_t bytes = 0;
    int users = 0;
  };

  mutable std::mutex mutex_;
  std::map<void*, Mapped> mapped_;
  uint64_t shared_ = 0;  // How often a mapping existed already.
};

// Some messages are copied out, some are read where they lie.
size_t BytesOf(uint64_t id) { return 16 + id * 37 % 3000; }

void Write(uint64_t thread, uint64_t id, absl::Span<std::byte> bytes) {
  std::memset(bytes.data(), static_cast<int>(id & 0xFF), bytes.size());
  const uint64_t words[] = {thread, id};
  std::memcpy(bytes.data(), words, sizeof words);
}

// The messages that arrive of one topic. Used on one thread at a time.
struct Received {
  void Add(absl::Span<const std::byte> bytes) {
    uint64_t words[2] = {};
    std::memcpy(words, bytes.data(), sizeof words);
    const auto [thread, id] = words;
    bool is_sound = thread < kThreads && bytes.size() == BytesOf(id);
    for (const std::byte byte : bytes.subspan(sizeof words)) {
      is_sound &= byte == static_cast<std::byte>(id & 0xFF);
    }
    if (!is_sound || id <= last[thread]) ++wrong;
    if (is_sound) last[thread] = id;
    count.fetch_add(1);
  }

  std::atomic<uint64_t> count{0};
  uint64_t wrong = 0;
  uint64_t last[kThreads] = {};
};

class Nodes {
 public:
  explicit Nodes(bool ordered) : ordered_(ordered) {}

  int Run() {
    if (!Good(Open())) return 1;
    std::vector<std::thread> threads;
    for (uint64_t thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([this, thread] { Publish(thread); });
    }
    std::thread pulling([this] { Pull(); });
    for (std::thread& thread : threads) thread.join();
    pulling.join();
    bool good = Good(writer_->Flush(kLong)) && Good(reader_->Flush(kLong));
    // Its handlers end with it.
    subscriptions_.clear();
    return good && Check() ? 0 : 1;
  }

 private:
  static constexpr const char* kTopics[] = {"inline", "queued", "lossy",
                                            "pulled"};
  enum Topic { kInline, kQueued, kLossy, kPulled, kTopicCount };

  bool Good(const absl::Status& status) {
    if (!status.ok()) std::printf("%s\n", status.ToString().c_str());
    return status.ok();
  }

  absl::StatusOr<std::unique_ptr<MessageBus>> Make(const std::string& node) {
    BusOptions options;
    options.node = node;
    options.environment = &environment_;
    options.settings.lane_bytes = kLaneBytes;
    options.settings.publish_timeout = kLong;
    options.limits.frame_bytes_max = kLaneBytes / 2;
    return MessageBus::Create(options);
  }

  absl::Status Open() {
    auto reader = Make("reader");
    auto writer = Make("writer");
    if (!reader.ok()) return reader.status();
    if (!writer.ok()) return writer.status();
    reader_ = *std::move(reader);
    writer_ = *std::move(writer);
    const std::string path = dir_.file("reader.shm");
    auto endpoint =
        BindShmEndpoint(path, *reader_, /*digest=*/std::nullopt, kLaneBytes);
    if (!endpoint.ok()) return endpoint.status();
    endpoint_.emplace(*std::move(endpoint));
    const absl::Status dialled = DialShmEndpoint(path, *writer_);
    if (!dialled.ok()) return dialled;
    auto answers = reader_->RawPublisher(type_, "", On("answers"));
    if (!answers.ok()) return answers.status();
    answers_.emplace(*std::move(answers));
    for (const Topic topic : {kInline, kQueued, kLossy}) {
      if (absl::Status added = Subscribe(topic); !added.ok()) return added;
    }
    auto pulled = reader_->RawSubscriber(type_, From(kPulled));
    if (!pulled.ok()) return pulled.status();
    pulled_.emplace(*std::move(pulled));
    SubscriberOptions back;
    back.topic = "answers";
    auto subscription = writer_->SubscribeRaw(
        type_,
        [this](absl::Span<const std::byte> bytes, const MessageInfo&) {
          got_back_.Add(bytes);
        },
        back);
    if (!subscription.ok()) return subscription.status();
    subscriptions_.push_back(*std::move(subscription));
    if (auto found = answers_->WaitForSubscribers(1, kLong); !found.ok()) {
      return found;
    }
    for (const char* const topic : kTopics) {
      auto publisher = writer_->RawPublisher(type_, "", On(topic));
      if (!publisher.ok()) return publisher.status();
      publishers_.push_back(*std::move(publisher));
      auto found = publishers_.back().WaitForSubscribers(1, kLong);
      if (!found.ok()) return found;
    }
    return absl::OkStatus();
  }

  static PublisherOptions On(const std::string& topic) {
    PublisherOptions options;
    options.topic = topic;
    return options;
  }

  static SubscriberOptions From(Topic topic) {
    SubscriberOptions options;
    options.topic = kTopics[topic];
    if (topic == kQueued || topic == kLossy) {
      options.delivery = DeliveryMode::kQueued;
    }
    if (topic == kLossy) {
      options.overflow = Overflow::kDropOldest;
      options.depth = 4;
    }
    return options;
  }

  absl::Status Subscribe(Topic topic) {
    auto subscription = reader_->SubscribeRaw(
        type_,
        [this, topic](absl::Span<const std::byte> bytes, const MessageInfo&) {
          got_[topic].Add(bytes);
          // Another node's ring is written to while this node's rings are read.
          // A handler does not wait for room.
          if (topic == kInline && !answers_->Publish(bytes).ok()) ++refused_;
        },
        From(topic));
    if (!subscription.ok()) return subscription.status();
    subscriptions_.push_back(*std::move(subscription));
    return absl::OkStatus();
  }

  void Publish(uint64_t thread) {
    std::vector<std::byte> bytes(4096);
    for (uint64_t id = 1; id <= kEach; ++id) {
      const absl::Span<std::byte> message(bytes.data(), BytesOf(id));
      Write(thread, id, message);
      for (RawPublisher& publisher : publishers_) {
        absl::Status sent;
        if (id % 3 == 0) {
          auto loan = publisher.Loan(message.size());
          sent = loan.status();
          if (loan.ok()) {
            Write(thread, id, loan->bytes());
            sent = loan->Publish();
          }
        } else {
          sent = publisher.Publish(message);
        }
        if (!Good(sent)) ++failed_;
      }
      if (!ordered_) sys_.Scribble();
    }
  }

  void Pull() {
    while (got_[kPulled].count < kThreads * kEach) {
      auto message = pulled_->Receive(kLong);
      if (!Good(message.status())) return;
      got_[kPulled].Add(*message);
    }
    pulled_->Finish();
  }

  bool Check() {
    const uint64_t all = kThreads * kEach;
    bool good = failed_ == 0 && sys_.shared() >= 2 * kTopicCount;
    for (int topic = 0; topic < kTopicCount; ++topic) {
      const uint64_t count = got_[topic].count;
      std::printf("%s: %llu of %llu messages\n", kTopics[topic],
                  static_cast<unsigned long long>(count),
                  static_cast<unsigned long long>(all));
      good &= got_[topic].wrong == 0 && count <= all;
      good &= count == all || (topic == kLossy && count > 0);
    }
    good &= got_back_.wrong == 0 && got_back_.count > 0 &&
            got_back_.count + refused_ == all;
    Ledger sum;
    for (const auto& bus : {writer_.get(), reader_.get()}) {
      for (const FlowReport& flow : bus->FlowReports()) sum += flow.ledger;
    }
    std::printf("accepted %llu, delivered %llu, dropped %llu, in flight %llu\n",
                static_cast<unsigned long long>(sum.accepted),
                static_cast<unsigned long long>(sum.delivered),
                static_cast<unsigned long long>(sum.dropped_total()),
                static_cast<unsigned long long>(sum.in_flight));
    return good && sum.accepted + refused_ == (kTopicCount + 1) * all &&
           sum.accepted == sum.delivered + sum.dropped_total() &&
           sum.in_flight == 0;
  }

  const bool ordered_;
  const ShortTempDir dir_;
  OneMappingSys sys_;
  SystemClock clock_{sys_};
  SystemWaiter waiter_{sys_, clock_};
  Environment environment_{sys_, clock_, waiter_};
  const MessageType type_ = RawMessageType("mycelium.test.Bytes", Digest());
  Received got_[kTopicCount];
  Received got_back_;
  std::atomic<uint64_t> failed_{0};
  uint64_t refused_ = 0;  // Answers. Used on the reader's thread.
  std::unique_ptr<MessageBus> reader_;
  std::unique_ptr<MessageBus> writer_;
  std::optional<ShmEndpointHandle> endpoint_;
  std::optional<RawPublisher> answers_;
  std::optional<RawSubscriber> pulled_;
  std::vector<RawPublisher> publishers_;
  std::vector<SubscriptionHandle> subscriptions_;
};

}  // namespace
}  // namespace mycelium::test

int main(int argc, char** argv) {
  const bool ordered = argc > 1 && std::strcmp(argv[1], "ordered") == 0;
  return mycelium::test::Nodes(ordered).Run();
}
