// What a process leaves behind when it dies, while its subscribers do not take
// it: nobody else waits for them.

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "mycelium/bus/message_bus.h"
#include "tests/conformance/process_fixture.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);

class DrainingTest : public ProcessTest {
 protected:
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
    return changed_.wait_for(lock, absl::ToChronoSeconds(kLong), [&] {
      for (const auto event : events_) {
        if (event == state) return true;
      }
      return false;
    });
  }

  std::unique_ptr<MessageBus> bus_;

 private:
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
  uint64_t received = 0;
  while (pull->Receive(absl::Milliseconds(100)).ok()) ++received;
  EXPECT_GE(received, 2u);  // The last of each life, at least.
  EXPECT_EQ(next->Ask("flush", "flushed"), "OK");
  const Counted sent = LedgerOf(*next);
  EXPECT_EQ(sent.accepted, 5u);
  EXPECT_EQ(sent.in_flight, 0u);
  uint64_t delivered = 0;
  for (const FlowReport& flow : bus_->FlowReports()) {
    delivered += flow.ledger.delivered;
  }
  EXPECT_EQ(delivered, received);
  EXPECT_TRUE(bus_->Shutdown(kLong).ok());
}

}  // namespace
}  // namespace mycelium::test
