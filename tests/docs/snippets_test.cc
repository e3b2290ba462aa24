// The programs of README.md and docs/, run as one test. The regions between
// `// [name]` and `// [/name]` are what the guides show; //tests/tidy compares.

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/docs/plant.pb.h"
#include "tests/support/short_temp_dir.h"

namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// [publish]
absl::Status RunSampler(const std::string& topology) {
  auto bus = mycelium::MessageBus::FromTopology(topology, "sampler");
  if (!bus.ok()) return bus.status();
  auto readings = (*bus)->PublisherTo<plant::Reading>("watch");
  if (!readings.ok()) return readings.status();
  absl::Status found = readings->WaitForSubscribers(1, absl::Seconds(10));
  if (!found.ok()) return found;

  plant::Reading reading;
  reading.set_sensor("boiler");
  reading.set_celsius(81.5);
  absl::Status sent = readings->Publish(reading);
  if (!sent.ok()) return sent;
  return (*bus)->Flush(absl::Seconds(10));  // It was handled.
}
// [/publish]

// What the snippets' watch has seen.
std::vector<std::string>& Alarms() {
  static auto* const alarms = new std::vector<std::string>;
  return *alarms;
}

void RaiseAlarm(const std::string& sensor, absl::string_view from) {
  Alarms().push_back(absl::StrCat(sensor, " of ", from));
}

// [subscribe]
absl::StatusOr<mycelium::SubscriptionHandle> StartWatch(
    mycelium::MessageBus& bus) {
  return bus.Subscribe<plant::Reading>(
      [](const plant::Reading& reading, const mycelium::MessageInfo& info) {
        if (reading.celsius() < 80) return;
        RaiseAlarm(reading.sensor(), info.publisher_service());
      });
}
// [/subscribe]

// [ledger]
std::string DescribeFlows(const mycelium::MessageBus& bus) {
  std::string text;
  for (const mycelium::FlowReport& flow : bus.FlowReports()) {
    absl::StrAppend(
        &text, flow.publisher_service, " -> ", flow.subscriber_service, " (",
        flow.transport, "): accepted ", flow.ledger.accepted, ", delivered ",
        flow.ledger.delivered, ", dropped ", flow.ledger.dropped_total(), "\n");
  }
  return text;
}
// [/ledger]

// Runs with the file of two processes and with that of one. Both nodes live in
// this process, which makes no difference to them.
class SnippetsTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    Alarms().clear();
    ASSERT_EQ(setenv("XDG_RUNTIME_DIR", dir_.path().c_str(), 1), 0);
  }

  mycelium::test::ShortTempDir dir_;
};

TEST_P(SnippetsTest, ProgramsDoNotChangeWithTheTopology) {
  const std::string topology = absl::StrCat("tests/docs/", GetParam());
  auto bus = mycelium::MessageBus::FromTopology(topology, "watch");
  ASSERT_TRUE(bus.ok()) << bus.status();
  auto watch = StartWatch(**bus);
  ASSERT_TRUE(watch.ok()) << watch.status();
  const absl::Status ran = RunSampler(topology);
  ASSERT_TRUE(ran.ok()) << ran;
  EXPECT_THAT(Alarms(), ElementsAre("boiler of sampler"));
  EXPECT_THAT(DescribeFlows(**bus), HasSubstr("delivered 1, dropped 0"));
}

INSTANTIATE_TEST_SUITE_P(Topologies, SnippetsTest,
                         ::testing::Values("plant.toml",
                                           "plant_in_one_process.toml"),
                         [](const auto& info) {
                           return info.index == 0 ? "TwoNodes" : "OneNode";
                         });

TEST(SnippetsWithoutTopologyTest, EndpointsAreBoundAndDialledByHand) {
  mycelium::test::ShortTempDir dir;
  const std::string path = dir.file("control.sock");
  auto control = mycelium::MessageBus::Create();
  auto field = mycelium::MessageBus::Create();
  ASSERT_TRUE(control.ok() && field.ok());
  // [by-hand]
  auto endpoint = mycelium::BindUnixEndpoint(path, **control);
  auto readings = (*control)->Subscriber<plant::Reading>();

  absl::Status dialled = mycelium::DialUnixEndpoint(path, **field);
  auto publisher = (*field)->Publisher<plant::Reading>();
  absl::Status found = publisher->WaitForSubscribers(1, absl::Seconds(10));
  absl::Status sent = publisher->Publish(plant::Reading());

  auto reading = readings->Receive(absl::Seconds(10));
  // [/by-hand]
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  ASSERT_TRUE(dialled.ok()) << dialled;
  ASSERT_TRUE(found.ok()) << found;
  ASSERT_TRUE(sent.ok()) << sent;
  ASSERT_TRUE(reading.ok()) << reading.status();
}

}  // namespace
