// Many publishers and many subscribers over shared memory: each message once.
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mycelium/bus/shm_endpoint.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

constexpr int kPeers = 6;
constexpr int kThreads = 3;
constexpr uint64_t kMessages = 400;

// The ids from each publisher, which the note's text names.
class Received final {
 public:
  void Add(const Note& note) {
    const std::lock_guard<std::mutex> lock(mutex_);
    by_publisher_[note.text()].push_back(note.id());
  }
  std::map<std::string, std::vector<uint64_t>> all() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return by_publisher_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::vector<uint64_t>> by_publisher_;
};

void PublishAll(Publisher<Note>& publisher, const std::string& name) {
  for (uint64_t id = 1; id <= kMessages; ++id) {
    Note note;
    note.set_id(id);
    note.set_text(name);
    ASSERT_TRUE(publisher.Publish(note).ok());
  }
}

class ShmManyTest : public ::testing::Test {
 protected:
  ShmManyTest() {
    BusOptions options;
    options.node = "centre";
    options.settings.publish_timeout = kLong;
    centre_ = *MessageBus::Create(options);
    endpoint_.emplace(*BindShmEndpoint(path_, *centre_));
    for (int i = 0; i < kPeers; ++i) {
      options.node = absl::StrCat("peer", i);
      peers_.push_back(*MessageBus::Create(options));
      EXPECT_TRUE(DialShmEndpoint(path_, *peers_.back()).ok());
    }
  }

  void ExpectBalance(uint64_t messages) {
    for (const auto& peer : peers_) EXPECT_TRUE(peer->Flush(kLong).ok());
    EXPECT_TRUE(centre_->Flush(kLong).ok());
    Ledger sum;
    for (const FlowReport& flow : centre_->FlowReports()) {
      EXPECT_EQ(flow.transport, "shm");
      sum += flow.ledger;
    }
    for (const auto& peer : peers_) {
      for (const FlowReport& flow : peer->FlowReports()) sum += flow.ledger;
    }
    EXPECT_EQ(sum.accepted, messages);
    EXPECT_EQ(sum.delivered, messages);
    EXPECT_EQ(sum.dropped_total() + sum.in_flight, 0u);
  }

  const ShortTempDir dir_;
  const std::string path_ = dir_.file("centre.shm");
  std::unique_ptr<MessageBus> centre_;
  std::optional<ShmEndpointHandle> endpoint_;
  std::vector<std::unique_ptr<MessageBus>> peers_;
};

TEST_F(ShmManyTest, OneSubscriberHearsManyPublishersInManyThreadsOnceEach) {
  Received received;
  auto subscription = centre_->Subscribe<Note>(
      [&](const Note& note, const MessageInfo&) { received.Add(note); });
  std::vector<std::thread> threads;
  for (auto& peer : peers_) {
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        auto publisher = peer->Publisher<Note>();
        ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
        PublishAll(*publisher, absl::StrCat(peer->node(), " ", t));
        ASSERT_TRUE(peer->Flush(kLong).ok());
      });
    }
  }
  for (std::thread& thread : threads) thread.join();
  const auto all = received.all();
  EXPECT_EQ(all.size(), static_cast<size_t>(kPeers * kThreads));
  for (const auto& [name, ids] : all) EXPECT_EQ(ids, Counting(kMessages));
  ExpectBalance(kPeers * kThreads * kMessages);
}

TEST_F(ShmManyTest, ManySubscribersHearOnePublisherOnceEach) {
  std::vector<Received> received(kPeers);
  std::vector<SubscriptionHandle> handles;
  for (int i = 0; i < kPeers; ++i) {
    SubscriberOptions options;
    if (i % 2 == 1) options.delivery = DeliveryMode::kQueued;
    auto handle = peers_[i]->Subscribe<Note>(
        [&, i](const Note& note, const MessageInfo&) { received[i].Add(note); },
        options);
    ASSERT_TRUE(handle.ok()) << handle.status();
    handles.push_back(*std::move(handle));
  }
  auto pull = peers_[0]->Subscriber<Note>();
  auto publisher = centre_->Publisher<Note>();
  ASSERT_TRUE(publisher->WaitForSubscribers(kPeers + 1, kLong).ok());
  std::thread pulling(
      [&] { EXPECT_EQ(ReceiveAll(*pull, kMessages), Counting(kMessages)); });
  PublishAll(*publisher, "centre");
  pulling.join();
  ASSERT_TRUE(centre_->Flush(kLong).ok());
  for (const Received& one : received) {
    EXPECT_EQ(one.all(), (std::map<std::string, std::vector<uint64_t>>{
                             {"centre", Counting(kMessages)}}));
  }
  ExpectBalance((kPeers + 1) * kMessages);
}

TEST_F(ShmManyTest, ThreadsThatShareOnePublisherLoseNothing) {
  Received received;
  auto subscription = centre_->Subscribe<Note>(
      [&](const Note& note, const MessageInfo&) { received.Add(note); });
  auto publisher = peers_[0]->Publisher<Note>();
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] { PublishAll(*publisher, absl::StrCat(t)); });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(peers_[0]->Flush(kLong).ok());
  const auto all = received.all();
  EXPECT_EQ(all.size(), static_cast<size_t>(kThreads));
  for (const auto& [name, ids] : all) EXPECT_EQ(ids, Counting(kMessages));
  ExpectBalance(kThreads * kMessages);
}

}  // namespace
}  // namespace mycelium::test
