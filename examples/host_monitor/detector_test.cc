#include "examples/host_monitor/detector.h"

#include <memory>
#include <thread>

#include "absl/synchronization/notification.h"
#include "examples/host_monitor/host_monitor.pb.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/testing/ledger_check.h"

namespace host_monitor {
namespace {

constexpr absl::Duration kSoon = absl::Seconds(20);

HostSample SampleWithLoad(double percent) {
  HostSample sample;
  sample.mutable_cpu()->set_total_percent(percent);
  return sample;
}

// [alone]
// The service alone, between a publisher and a subscriber of the test.
TEST(DetectorTest, TellsOfALoadThatIsNotTheUsualOne) {
  auto bus = mycelium::MessageBus::Create();  // Within this process.
  ASSERT_TRUE(bus.ok()) << bus.status();
  auto anomalies = (*bus)->Subscriber<Anomaly>();
  auto samples = (*bus)->Publisher<HostSample>();
  ASSERT_TRUE(anomalies.ok() && samples.ok());
  Detector::Options options;
  options.warm_up = 5;
  options.run = 1;
  Detector detector(**bus, options);
  absl::Notification stop;
  absl::Status ran;
  std::thread service([&] { ran = detector.Run(stop); });

  EXPECT_TRUE(samples->WaitForSubscribers(1, kSoon).ok());
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(samples->Publish(SampleWithLoad(20)).ok());
  }
  EXPECT_TRUE(samples->Publish(SampleWithLoad(95)).ok());
  auto received = anomalies->Receive(kSoon);
  EXPECT_TRUE(received.ok()) << received.status();
  const Anomaly anomaly = received.ok() ? **received : Anomaly();
  anomalies->Finish();
  EXPECT_TRUE((*bus)->Flush(kSoon).ok());
  stop.Notify();
  service.join();

  EXPECT_EQ(ran, absl::OkStatus());
  EXPECT_EQ(anomaly.metric(), "cpu.total");
  EXPECT_EQ(anomaly.value(), 95);
  EXPECT_EQ(anomaly.usual(), 20);
  EXPECT_EQ(mycelium::CheckAllDelivered({bus->get()}), absl::OkStatus());
}
// [/alone]

}  // namespace
}  // namespace host_monitor
