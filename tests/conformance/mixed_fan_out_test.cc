// One publisher whose subscribers are reached in every possible way: the same
// messages, the same order, the same policies, one ledger.
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/support/loopback_address.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

constexpr uint64_t kNotes = 2000;

// The parameter is the overflow policy of all subscribers. Lanes have room for
// every note.
class MixedFanOutTest : public ::testing::TestWithParam<std::string> {
 protected:
  MixedFanOutTest() {
    const LoopbackAddress here, elsewhere;
    std::ofstream file(path_);
    file << "socket_dir = \"" << dir_.path() << "\"\n"
         << "[defaults]\noverflow = \"" << GetParam()
         << "\"\ndepth = " << kNotes << "\n";
    const auto node = [&](const std::string& name, const std::string& services,
                          const std::string& host) {
      file << "[[nodes]]\nname = \"" << name << "\"\nservices = [" << services
           << "]\nhost = \"" << host << "\"\nport = " << LoopbackAddress().port
           << "\n";
    };
    node("hub", "\"writer\", \"inproc\"", here.host);
    node("shm-node", "\"shm\"", here.host);
    node("unix-node", "\"unix\"", here.host);
    node("grpc-node", "\"grpc\"", elsewhere.host);
    file << "[[routes]]\nfrom = \"hub\"\nto = \"unix-node\"\n"
         << "transport = \"unix\"\n";
  }

  std::unique_ptr<MessageBus> Open(const std::string& service) {
    auto bus = MessageBus::FromTopology(path_, service);
    EXPECT_TRUE(bus.ok()) << bus.status();
    return *std::move(bus);
  }

  ShortTempDir dir_;
  const std::string path_ = dir_.file("topology.toml");
};

TEST_P(MixedFanOutTest, EverySubscriberGetsEachMessageInOrderAndItIsCounted) {
  const std::vector<std::string> services = {"inproc", "shm", "unix", "grpc"};
  const auto writer = Open("writer");
  std::map<std::string, Inbox> inboxes;
  std::map<std::string, std::unique_ptr<MessageBus>> buses;
  std::vector<SubscriptionHandle> subscriptions;
  for (const std::string& service : services) {
    buses[service] = Open(service);
    auto subscription = buses[service]->Subscribe<Note>(
        inboxes[service].Handler(), Delivered(DeliveryMode::kQueued));
    ASSERT_TRUE(subscription.ok()) << subscription.status();
    subscriptions.push_back(*std::move(subscription));
  }
  auto publisher = writer->Publisher<Note>();
  ASSERT_TRUE(publisher.ok());
  ASSERT_TRUE(publisher->WaitForSubscribers(4, kLong).ok());
  for (uint64_t id = 1; id <= kNotes; ++id) {
    ASSERT_THAT(publisher->Publish(MakeNote(id)), IsOk());
  }
  EXPECT_THAT(writer->Flush(kLong), IsOk());
  std::map<std::string, Ledger> ledgers;  // By subscriber, of both sides.
  std::map<std::string, std::string> transports;
  const auto add = [&](const MessageBus& bus) {
    for (const FlowReport& flow : bus.FlowReports()) {
      ledgers[flow.subscriber_service] += flow.ledger;
      transports[flow.subscriber_service] = flow.transport;
    }
  };
  add(*writer);  // The hub's, and so `inproc`'s too.
  for (const std::string service : {"shm", "unix", "grpc"}) {
    add(*buses[service]);
  }
  for (const std::string& service : services) {
    EXPECT_EQ(inboxes[service].ids(), Counting(kNotes)) << service;
    EXPECT_EQ(transports[service], service);
    EXPECT_EQ(ledgers[service].accepted, kNotes) << service;
    EXPECT_EQ(ledgers[service].delivered, kNotes) << service;
    EXPECT_EQ(ledgers[service].in_flight, 0u) << service;
    EXPECT_TRUE(ledgers[service].Balances()) << service;
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, MixedFanOutTest,
                         ::testing::Values("block", "fail", "drop_oldest",
                                           "drop_newest"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace mycelium::test
