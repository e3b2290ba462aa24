// A service that ends well when it is told to: docs/stopping.md.
#include <signal.h>
#include <time.h>

#include <cstdint>
#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mycelium/bus/message_bus.h"
#include "tests/docs/plant.pb.h"

namespace {

// [run]
absl::Status Run(const std::string& topology) {
  // Before the first bus: its threads inherit that no signal interrupts them.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  auto bus = mycelium::MessageBus::FromTopology(topology, "sampler");
  if (!bus.ok()) return bus.status();
  auto readings = (*bus)->PublisherTo<plant::Reading>("watch");
  if (!readings.ok()) return readings.status();

  absl::Status found = readings->WaitForSubscribers(1, absl::Seconds(10));
  if (!found.ok()) return found;
  plant::Reading reading;
  const timespec period = {0, 1'000'000};
  while (sigtimedwait(&ends, nullptr, &period) < 0) {
    reading.set_celsius(reading.celsius() + 1);
    absl::Status sent = readings->Publish(reading);
    if (!sent.ok()) std::cerr << "not sent: " << sent << std::endl;
  }
  // From here on nothing is published.
  std::cout << "stopping after " << reading.celsius() << std::endl;
  absl::Status handled = (*bus)->Flush(absl::Seconds(10));
  absl::Status closed = (*bus)->Close(absl::Seconds(5));
  uint64_t lost = 0;
  for (const mycelium::FlowReport& flow : (*bus)->FlowReports()) {
    lost += flow.ledger.dropped_total() + flow.ledger.in_flight;
  }
  std::cout << "lost: " << lost << std::endl;
  return handled.ok() ? closed : handled;
}
// [/run]

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const absl::Status ended = Run(argv[1]);
  if (!ended.ok()) std::cerr << ended << std::endl;
  return ended.ok() ? 0 : 1;
}
