// Three services in a ring, each of which publishes to the next from inside its
// handler: all three in one process, or each in a node of its own.

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "tests/support/loopback_address.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {
namespace {

using ::testing::AnyOf;
using ::testing::Combine;
using ::testing::HasSubstr;
using ::testing::Values;

constexpr size_t kServices = 3;
constexpr absl::Duration kLong = absl::Seconds(20);
constexpr absl::Duration kPublishTimeout = absl::Milliseconds(200);

std::string NameOf(size_t service) { return absl::StrCat("ring", service); }

class RingOfServicesTest
    : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  explicit RingOfServicesTest(
      absl::Duration publish_timeout = kPublishTimeout) {
    const std::string transport = std::get<0>(GetParam());
    std::ofstream file(path_);
    file << "socket_dir = \"" << dir_.path() << "\"\n"
         << "[defaults]\nlane_bytes = \"64KiB\"\npublish_timeout = \""
         << absl::FormatDuration(publish_timeout) << "\"\n"
         << "[limits]\nframe_bytes_max = \"8KiB\"\n";
    if (transport == "inproc") {
      file << "[[nodes]]\nname = \"all\"\n"
           << "services = [\"ring0\", \"ring1\", \"ring2\"]\n";
      return;
    }
    for (size_t i = 0; i < kServices; ++i) {
      file << "[[nodes]]\nname = \"node" << i << "\"\nservices = [\""
           << NameOf(i) << "\"]\n";
      if (transport != "grpc") continue;
      const auto address = LoopbackAddress();
      if (i == 0) host_ = address.host;
      file << "host = \"" << host_ << "\"\nport = " << address.port << "\n";
    }
    file << "[[routes]]\nfrom = \"*\"\nto = \"*\"\ntransport = \"" << transport
         << "\"\n";
  }

  ~RingOfServicesTest() override {
    for (auto& bus : buses_) {
      if (bus != nullptr) (void)bus->Shutdown(kLong);
    }
    for (std::thread& thread : pulling_) thread.join();
  }

  void Open() {
    for (size_t i = 0; i < kServices; ++i) {
      auto bus = MessageBus::FromTopology(path_, NameOf(i));
      ASSERT_TRUE(bus.ok()) << bus.status();
      buses_[i] = *std::move(bus);
      auto publisher =
          buses_[i]->PublisherTo<Note>(NameOf((i + 1) % kServices));
      ASSERT_TRUE(publisher.ok()) << publisher.status();
      publishers_[i].emplace(*std::move(publisher));
    }
    SubscriberOptions options;
    options.delivery = std::get<1>(GetParam()) == "queued"
                           ? DeliveryMode::kQueued
                           : DeliveryMode::kInline;
    for (size_t i = 0; i < kServices; ++i) {
      if (std::get<1>(GetParam()) == "pull") {
        auto pull = buses_[i]->Subscriber<Note>();
        ASSERT_TRUE(pull.ok()) << pull.status();
        pulls_[i].emplace(*std::move(pull));
        pulling_.emplace_back([this, i] { PullAll(i); });
        continue;
      }
      auto handle = buses_[i]->Subscribe<Note>(
          [this, i](const Note& note, const MessageInfo&) { Pass(i, note); },
          options);
      ASSERT_TRUE(handle.ok()) << handle.status();
      handles_[i] = *std::move(handle);
    }
    for (auto& publisher : publishers_) {
      const absl::Status found = publisher->WaitForSubscribers(1, kLong);
      ASSERT_TRUE(found.ok()) << found;
    }
  }

  void PullAll(size_t service) {
    while (true) {
      const auto note = pulls_[service]->Receive(absl::InfiniteDuration());
      if (!note.ok()) return;  // The bus was shut down.
      Pass(service, **note);
      pulls_[service]->Finish();
    }
  }

  // The handler: a note whose id is more than 1 goes on with an id that is one
  // less. A note whose text is a number injects so many new notes.
  void Pass(size_t service, const Note& note) {
    handled_.fetch_add(1);
    uint64_t more = 0;
    if (absl::SimpleAtoi(note.text(), &more)) {
      if (before_more_ != nullptr) before_more_();
      for (; more > 0; --more) {
        Inject(service, note.id(), note.blob().size());
      }
      ended_.fetch_add(1);
      return;
    }
    if (note.id() <= 1) {
      ended_.fetch_add(1);
      return;
    }
    Note next = note;
    next.set_id(note.id() - 1);
    const absl::Status sent = Publish(service, next);
    if (sent.ok()) return;
    EXPECT_EQ(sent.code(), absl::StatusCode::kResourceExhausted) << sent;
    ended_.fetch_add(1);
    refused_.fetch_add(1);
  }

  absl::Status Publish(size_t service, const Note& note) {
    const absl::Time began = absl::Now();
    const absl::Status sent = publishers_[service]->Publish(note);
    const int64_t took = absl::ToInt64Milliseconds(absl::Now() - began);
    int64_t longest = longest_ms_.load();
    while (took > longest &&
           !longest_ms_.compare_exchange_weak(longest, took)) {
    }
    if (!sent.ok()) {
      std::lock_guard<std::mutex> lock(refusals_mutex_);
      refusals_.emplace_back(sent.message());
    }
    return sent;
  }

  // Injects a note that makes `hops` hops, as far as there is room.
  void Inject(size_t service, uint64_t hops, size_t blob_bytes,
              const std::string& text = "") {
    Note note;
    note.set_id(hops);
    note.set_text(text);
    note.set_blob(std::string(blob_bytes, 'b'));
    injected_.fetch_add(1);  // Before it may end.
    const absl::Status sent = Publish(service, note);
    if (sent.ok()) return;
    injected_.fetch_sub(1);
    EXPECT_EQ(sent.code(), absl::StatusCode::kResourceExhausted) << sent;
    refused_.fetch_add(1);
  }

  // Waits until the last note has made its last hop.
  void AwaitTheEnd() {
    const absl::Time end = absl::Now() + kLong;
    while (ended_.load() < injected_.load() && absl::Now() < end) {
      for (auto& bus : buses_) (void)bus->Flush(absl::Milliseconds(10));
    }
    EXPECT_EQ(ended_.load(), injected_.load());
    for (auto& bus : buses_) EXPECT_TRUE(bus->Flush(kLong).ok());
  }

  void ExpectTrueLedger() {
    Ledger total;
    std::vector<NodeRuntime*> seen;
    for (auto& bus : buses_) {
      NodeRuntime* const node = bus->runtime().get();
      if (std::count(seen.begin(), seen.end(), node) > 0) continue;
      seen.push_back(node);
      for (const FlowReport& flow : node->FlowReports()) total += flow.ledger;
    }
    EXPECT_EQ(total.delivered, handled_.load());
    EXPECT_EQ(total.accepted, total.delivered);
    EXPECT_EQ(total.dropped_total(), 0u);
    EXPECT_EQ(total.in_flight, 0u);
  }

  ShortTempDir dir_;
  const std::string path_ = dir_.file("topology.toml");
  std::array<std::unique_ptr<MessageBus>, kServices> buses_;
  std::array<std::optional<Publisher<Note>>, kServices> publishers_;
  std::function<void()> before_more_;
  std::string host_;
  std::array<SubscriptionHandle, kServices> handles_;
  std::array<std::optional<Subscriber<Note>>, kServices> pulls_;
  std::vector<std::thread> pulling_;
  std::atomic<uint64_t> handled_{0};
  std::atomic<uint64_t> ended_{0};    // Notes that go no further.
  std::atomic<uint64_t> refused_{0};  // For want of room.
  std::atomic<int64_t> longest_ms_{0};
  std::atomic<uint64_t> injected_{0};
  std::mutex refusals_mutex_;
  std::vector<std::string> refusals_;
};

TEST_P(RingOfServicesTest, EachNoteMakesAllItsHops) {
  Open();
  constexpr uint64_t kNotes = 20, kHops = 300;
  for (uint64_t i = 0; i < kNotes; ++i) Inject(i % kServices, kHops, 0);
  AwaitTheEnd();
  EXPECT_EQ(refused_.load(), 0u);
  EXPECT_EQ(handled_.load(), kNotes * kHops);
  ExpectTrueLedger();
}

// Each service injects more at once than a lane holds, from inside its handler.
// Where only the thread in the handler could make room, the publish is refused
// at once; no call waits longer than it may, and no thread waits for ever.
TEST_P(RingOfServicesTest, RingThatIsFullRefusesAndGoesOn) {
  Open();
  constexpr uint64_t kHops = 60;
  constexpr size_t kBlobBytes = 2000;
  for (size_t i = 0; i < kServices; ++i) {
    Inject(i, kHops, kBlobBytes, /*text=*/"200");
  }
  AwaitTheEnd();
  EXPECT_GT(refused_.load(), 0u);
  // One wait, and the time that other threads of a busy machine take.
  EXPECT_LT(longest_ms_.load(),
            absl::ToInt64Milliseconds(kPublishTimeout) + 5'000);
  ExpectTrueLedger();
  // The ring works as at the start.
  const uint64_t before = handled_.load();
  Inject(0, kHops, kBlobBytes);
  AwaitTheEnd();
  EXPECT_EQ(handled_.load(), before + kHops);
  ExpectTrueLedger();
}

// A ring whose publishers wait for longer than the test.
class FullRingTest : public RingOfServicesTest {
 protected:
  FullRingTest() : RingOfServicesTest(kLong) {}

  std::string QueueOf(size_t service) const {
    return absl::StrCat(std::get<0>(GetParam()) == "inproc"
                            ? "all"
                            : absl::StrCat("node", service),
                        "/", NameOf(service), " (mycelium.test.Note)");
  }
};

// All three inject more than the next one takes, and wait for each other.
TEST_P(FullRingTest, CircleIsToldInsteadOfWaitedFor) {
  std::mutex mutex;
  std::condition_variable all_there;
  size_t there = 0;
  before_more_ = [&] {
    std::unique_lock<std::mutex> lock(mutex);
    if (++there == kServices) all_there.notify_all();
    all_there.wait(lock, [&] { return there >= kServices; });
  };
  Open();
  for (size_t i = 0; i < kServices; ++i) {
    Inject(i, /*hops=*/1, /*blob_bytes=*/2000, /*text=*/"200");
  }
  AwaitTheEnd();
  // No call has waited as long as it may.
  EXPECT_LT(longest_ms_.load(), 5'000);
  const std::lock_guard<std::mutex> lock(refusals_mutex_);
  EXPECT_FALSE(refusals_.empty());
  for (const std::string& refusal : refusals_) {
    EXPECT_THAT(refusal, HasSubstr("; waiting is in vain: "));
    for (size_t i = 0; i < kServices; ++i) {
      const std::string next = QueueOf((i + 1) % kServices);
      EXPECT_THAT(
          refusal,
          AnyOf(
              HasSubstr(absl::StrCat(QueueOf(i), " waits for ", next)),
              HasSubstr(absl::StrCat(QueueOf(i), ", which waits for ", next))));
    }
  }
  ExpectTrueLedger();
}

INSTANTIATE_TEST_SUITE_P(AllTransports, FullRingTest,
                         Combine(Values("inproc", "unix", "shm", "grpc"),
                                 Values("queued", "pull")),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), "_",
                                               std::get<1>(info.param));
                         });

INSTANTIATE_TEST_SUITE_P(AllTransports, RingOfServicesTest,
                         Combine(Values("inproc", "unix", "shm", "grpc"),
                                 Values("inline", "queued", "pull")),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), "_",
                                               std::get<1>(info.param));
                         });

}  // namespace
}  // namespace mycelium::test
