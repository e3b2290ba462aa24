// The tests that docs/testing.md shows, which are tests.
#include <stdlib.h>

#include <filesystem>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/testing/driven_time.h"
#include "mycelium/testing/ledger_check.h"
#include "tests/docs/plant.pb.h"

namespace {

// [service]
// Publishes what a sensor says, and counts what could not be published.
class Sampler final {
 public:
  explicit Sampler(mycelium::MessageBus& bus)
      : readings_(bus.Publisher<plant::Reading>()) {}

  void Sample(double celsius) {
    plant::Reading reading;
    reading.set_celsius(celsius);
    if (!readings_.ok() || !readings_->Publish(reading).ok()) ++missed_;
  }
  int missed() const { return missed_; }

 private:
  absl::StatusOr<mycelium::Publisher<plant::Reading>> readings_;
  int missed_ = 0;
};
// [/service]

// [slow]
TEST(SamplerTest, CountsWhatASlowWatchMakesItMiss) {
  mycelium::DrivenTime time;
  auto bus = mycelium::MessageBus::Create(time.Options());
  ASSERT_TRUE(bus.ok()) << bus.status();
  auto watch = (*bus)->Subscriber<plant::Reading>();  // Takes nothing.
  ASSERT_TRUE(watch.ok()) << watch.status();
  Sampler sampler(**bus);
  while (sampler.missed() == 0) sampler.Sample(81.5);
  // The last one was waited for as long as `publish_timeout` says.
  EXPECT_EQ(time.Elapsed(), absl::Seconds(1));

  while (true) {  // Now the watch goes on.
    auto reading = watch->TryReceive();
    ASSERT_TRUE(reading.ok()) << reading.status();
    if (*reading == nullptr) break;
  }
  sampler.Sample(81.5);
  EXPECT_EQ(sampler.missed(), 1);
  EXPECT_TRUE(watch->Receive(absl::Seconds(1)).ok());
  watch->Finish();
  EXPECT_EQ(mycelium::CheckAllDelivered({bus->get()}), absl::OkStatus());
}
// [/slow]

// [nodes]
// The nodes of the topology, each as it runs in production, in one process.
TEST(PlantTest, ReadingsReachTheOtherNode) {
  // Where the sockets go: the path of one has 107 bytes at most, which
  // TEST_TMPDIR of Bazel leaves no room for.
  char dir[] = "/tmp/plant-XXXXXX";
  ASSERT_NE(mkdtemp(dir), nullptr);
  ASSERT_EQ(setenv("XDG_RUNTIME_DIR", dir, 1), 0);
  const char topology[] = "tests/docs/plant.toml";
  auto control = mycelium::MessageBus::FromTopology(topology, "watch");
  auto field = mycelium::MessageBus::FromTopology(topology, "sampler");
  ASSERT_TRUE(control.ok()) << control.status();
  ASSERT_TRUE(field.ok()) << field.status();

  int readings = 0;
  auto watch = (*control)->Subscribe<plant::Reading>(
      [&](const plant::Reading&, const mycelium::MessageInfo&) { ++readings; });
  auto publisher = (*field)->PublisherTo<plant::Reading>("watch");
  ASSERT_TRUE(watch.ok() && publisher.ok());
  ASSERT_TRUE(publisher->WaitForSubscribers(1, absl::Seconds(20)).ok());
  ASSERT_TRUE(publisher->Publish(plant::Reading()).ok());
  ASSERT_TRUE((*field)->Flush(absl::Seconds(20)).ok());
  EXPECT_EQ(readings, 1);
  EXPECT_EQ(mycelium::CheckAllDelivered({field->get(), control->get()}),
            absl::OkStatus());
  EXPECT_EQ(watch->handler_errors(), 0u);
  std::filesystem::remove_all(dir);
}
// [/nodes]

}  // namespace
