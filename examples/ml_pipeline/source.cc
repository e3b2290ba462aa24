// The service `source`, in C++:
//
//   source record FILE COUNT        writes windows to learn from
//   source publish TOPOLOGY COUNT   sends other ones, with ids from 1
//
// `publish` prints `ready` once the next step is there, and begins when it
// reads a line from its input. When all was handled it prints its counts, as
// windows.py does.
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "examples/ml_pipeline/vibration.h"
#include "mycelium/bus/message_bus.h"

namespace ml_pipeline {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(30);
constexpr uint32_t kRecordingSeed = 1;
constexpr uint32_t kPublishingSeed = 2;

absl::Status Record(const std::string& path, uint64_t count) {
  Vibration vibration(kRecordingSeed);
  std::ofstream file(path, std::ios::binary);
  for (uint64_t id = 1; id <= count; ++id) {
    Window window;
    window.id = id;
    vibration.Measure(&window);
    file.write(reinterpret_cast<const char*>(&window), sizeof window);
  }
  file.close();
  return file.good() ? absl::OkStatus() : absl::DataLossError(path);
}

absl::Status PublishAll(mycelium::RawPublisher& windows, uint64_t count) {
  Vibration vibration(kPublishingSeed);
  for (uint64_t id = 1; id <= count; ++id) {
    // [loan]
    absl::StatusOr<mycelium::Loan> loan = windows.Loan(sizeof(Window));
    if (!loan.ok()) return loan.status();
    auto* const window = new (loan->bytes().data()) Window;
    window->id = id;
    vibration.Measure(window);
    absl::Status sent = loan->Publish();
    // [/loan]
    if (!sent.ok()) return sent;
  }
  return absl::OkStatus();
}

absl::Status Publish(const std::string& topology, uint64_t count) {
  auto bus = mycelium::MessageBus::FromTopology(topology, "source");
  if (!bus.ok()) return bus.status();
  // A step that was killed has this long to come back.
  mycelium::PublisherOptions options;
  options.publish_timeout = kPatience;
  auto windows = (*bus)->RawPublisher(
      mycelium::RawMessageType("ml_pipeline.Window"), "features", options);
  if (!windows.ok()) return windows.status();
  absl::Status status = windows->WaitForSubscribers(1, kPatience);
  if (!status.ok()) return status;
  std::cout << "ready" << std::endl;
  std::string line;
  std::getline(std::cin, line);
  status = PublishAll(*windows, count);
  if (status.ok()) status = (*bus)->Flush(kPatience);
  if (!status.ok()) return status;
  for (const mycelium::FlowReport& flow : (*bus)->FlowReports()) {
    std::cout << "flow " << flow.topic << " " << flow.transport << " "
              << flow.ledger.accepted << " " << flow.ledger.delivered << " "
              << flow.ledger.dropped_total() << " " << flow.ledger.in_flight
              << std::endl;
  }
  return (*bus)->Shutdown(kPatience);
}

}  // namespace
}  // namespace ml_pipeline

int main(int argc, char** argv) {
  const std::string what = argc == 4 ? argv[1] : "";
  uint64_t count = 0;
  if ((what != "record" && what != "publish") ||
      !absl::SimpleAtoi(argv[3], &count)) {
    std::cerr << "usage: source record|publish FILE|TOPOLOGY COUNT"
              << std::endl;
    return 2;
  }
  const absl::Status done = what == "record"
                                ? ml_pipeline::Record(argv[2], count)
                                : ml_pipeline::Publish(argv[2], count);
  if (done.ok()) return 0;
  std::cerr << "source: " << done << std::endl;
  return 1;
}
