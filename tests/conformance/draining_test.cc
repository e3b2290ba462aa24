// What a process leaves behind when it dies, while its subscribers do not take
// it: nobody else waits for them.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "gmock/gmock.h"
#include "mycelium/bus/message_bus.h"
#include "tests/conformance/process_fixture.h"
#include "tests/support/comes.h"
#include "tests/support/notification.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {
namespace {

using ::testing::Contains;

constexpr absl::Duration kLong = absl::Seconds(20);

class DrainingTest : public ProcessTest {
 protected:
  // Longer than the test: no connection ends because it is over.
  DrainingTest() { WriteTopology("a", "b", /*retain=*/"60s"); }

  // The reader lives here.
  void OpenReader() {
    BusOptions options;
    options.on_connection = [this](const ConnectionEvent& event) {
      const std::lock_guard<std::mutex> lock(mutex_);
      events_.push_back(event.state);
      changed_.notify_all();
    };
    bus_ = *MessageBus::FromTopology(dir_.file("topology.toml"), "reader",
                                     options);
  }

  bool WasTold(ConnectionEvent::State state) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoSeconds(kLong),
                             [&] { return Has(state); });
  }
  bool IsTold(ConnectionEvent::State state) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Has(state);
  }

  std::unique_ptr<MessageBus> bus_;

 private:
  bool Has(ConnectionEvent::State state) const {
    return std::count(events_.begin(), events_.end(), state) > 0;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ConnectionEvent::State> events_;
};

TEST_F(DrainingTest, SubscriberWhoDoesNotTakeKeepsNoSuccessorOut) {
  OpenReader();
  SubscriberOptions latest;
  latest.overflow = Overflow::kLatest;
  auto pull = bus_->Subscriber<Note>(latest);
  auto writer = Writer();
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
  EXPECT_EQ(writer->Ask("publish 5", "published").substr(0, 2), "OK");
  writer->Kill();
  ASSERT_TRUE(WasTold(ConnectionEvent::State::kDisconnected));
  // The subscriber has taken nothing yet, and its queue holds what came.
  auto next = Writer(/*run=*/2);
  EXPECT_EQ(next->Ask("wait 1", "waited"), "OK");
  EXPECT_EQ(next->Ask("publish 5", "published").substr(0, 2), "OK");
  // Of each life something comes. Over shared memory the last message of each
  // is among it; over a socket the first life's last ones may have died with
  // it.
  using RunAndId = std::pair<std::string, uint64_t>;
  std::vector<RunAndId> received;
  do {
    const auto note = pull->Receive(kLong);
    ASSERT_TRUE(note.ok()) << note.status();
    received.emplace_back((*note)->text(), (*note)->id());
  } while (received.back() != RunAndId("2", 5));
  pull->Finish();
  if (TransportUnderTest() == "shm") {
    EXPECT_THAT(received, Contains(RunAndId("1", 5)));
  } else {
    EXPECT_EQ(received.front().first, "1");
  }
  EXPECT_EQ(next->Ask("flush", "flushed"), "OK");
  const Counted sent = LedgerOf(*next);
  EXPECT_EQ(sent.accepted, 5u);
  EXPECT_EQ(sent.in_flight, 0u);
  uint64_t delivered = 0;
  for (const FlowReport& flow : bus_->FlowReports()) {
    delivered += flow.ledger.delivered;
  }
  EXPECT_EQ(delivered, received.size());
  EXPECT_TRUE(bus_->Shutdown(kLong).ok());
}

// An inline handler of the reader is at work, and more has come for it than
// waits in memory.
class BusyReaderTest : public DrainingTest,
                       public ::testing::WithParamInterface<bool> {
 protected:
  static constexpr uint64_t kLocal = 50, kRemote = 40;

  // Node a is the one whose dialling counts.
  BusyReaderTest() {
    WriteTopology(reader_dials() ? "b" : "a", reader_dials() ? "a" : "b",
                  /*retain=*/"60s");
  }

  bool reader_dials() const { return GetParam(); }

  std::unique_ptr<PeerProcess> BigWriter(int run) {
    auto writer = Start("publish", run, {"--bytes=1000"});
    writer->Await("ready");
    return writer;
  }

  // Waits until the reader has refused the connection of that writer.
  void AwaitRefusal(PeerProcess& writer) {
    if (reader_dials()) {
      writer.Await("event disconnected a");
      return;
    }
    EXPECT_TRUE(Comes([&] {
      return absl::StrContains(writer.Ask("errors", "errors"),
                               "is still handled");
    }));
  }

  static Note LocalNote() {
    Note note;
    note.set_blob(std::string(1000, 'x'));
    return note;
  }
};

TEST_P(BusyReaderTest, SuccessorIsKeptOutUntilAllBeforeItIsHandled) {
  OpenReader();
  Notification is_inside, go_on;
  uint64_t local = 0;
  ReceivedIds of_run[3] = {};
  auto handle =
      bus_->Subscribe<Note>([&](const Note& note, const MessageInfo& info) {
        if (info.publisher_service() == "reader") {
          if (local++ > 0) return;
          is_inside.Notify();
          go_on.WaitForNotification();
          return;
        }
        uint64_t run = 0;
        ASSERT_TRUE(absl::SimpleAtoi(note.text(), &run));
        if (run == 1) {
          EXPECT_EQ(of_run[2].count, 0u) << "after its successor";
        }
        of_run[run].Record(note.id());
      });
  ASSERT_TRUE(handle.ok()) << handle.status();
  // It is not busy, and sees what has arrived.
  SubscriberOptions beside;
  beside.name = "beside";
  beside.delivery = DeliveryMode::kQueued;
  std::atomic<uint64_t> arrived{0};
  auto seen = bus_->Subscribe<Note>(
      [&](const Note&, const MessageInfo& info) {
        if (info.publisher_service() == "writer") ++arrived;
      },
      beside);
  ASSERT_TRUE(seen.ok()) << seen.status();
  auto to_self = bus_->PublisherTo<Note>("reader");
  auto first = BigWriter(1);
  EXPECT_EQ(first->Ask("wait 2", "waited"), "OK");
  std::thread user([&] { EXPECT_TRUE(to_self->Publish(LocalNote()).ok()); });
  is_inside.WaitForNotification();
  for (uint64_t i = 0; i < kLocal; ++i) {
    EXPECT_TRUE(to_self->Publish(LocalNote()).ok());
  }
  EXPECT_EQ(
      first->Ask(absl::StrCat("publish ", kRemote), "published").substr(0, 2),
      "OK");
  EXPECT_TRUE(Comes([&] { return arrived == kRemote; }));
  first->Kill();
  auto second = BigWriter(2);
  AwaitRefusal(*second);
  EXPECT_FALSE(IsTold(ConnectionEvent::State::kDisconnected));
  go_on.Notify();
  user.join();
  EXPECT_EQ(second->Ask("wait 2", "waited"), "OK");
  EXPECT_EQ(second->Ask("publish 10", "published").substr(0, 2), "OK");
  EXPECT_EQ(second->Ask("flush", "flushed"), "OK");
  EXPECT_EQ(of_run[1].gaps + of_run[1].duplicates, 0u);
  EXPECT_EQ(of_run[1].first, 1u);
  // Over a socket the writer may have died before it had sent all of that lane.
  if (TransportUnderTest() == "shm") {
    EXPECT_EQ(of_run[1].count, kRemote);
  }
  ExpectEachOnceInOrder(of_run[2], 10);
  EXPECT_TRUE(bus_->Shutdown(kLong).ok());
}

INSTANTIATE_TEST_SUITE_P(Whoever, BusyReaderTest, ::testing::Bool(),
                         [](const auto& info) {
                           return info.param ? "ReaderDials" : "WriterDials";
                         });

}  // namespace
}  // namespace mycelium::test
