#ifndef EXAMPLES_HOST_MONITOR_SAMPLER_H_
#define EXAMPLES_HOST_MONITOR_SAMPLER_H_

#include <string>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "mycelium/bus/message_bus.h"

namespace host_monitor {

// The service "sampler": publishes a HostSample of this machine every period,
// to all subscribers.
//
// Ownership: borrows the bus, which must outlive it.
//
// Example:
//   Sampler sampler(*bus, Sampler::Options{});
//   absl::Notification stop;
//   std::thread thread([&] { (void)sampler.Run(stop); });
class Sampler final {
 public:
  struct Options {
    absl::Duration period = absl::Milliseconds(100);
    std::string proc_path = "/proc";
  };

  Sampler(mycelium::MessageBus& bus, const Options& options)
      : bus_(bus), options_(options) {}

  // Works until `stop` is notified. If a subscriber has no room in time, the
  // sample is left out. Other errors of the bus, and errors of HostReader, end
  // it.
  absl::Status Run(const absl::Notification& stop);

 private:
  mycelium::MessageBus& bus_;
  const Options options_;
};

}  // namespace host_monitor

#endif  // EXAMPLES_HOST_MONITOR_SAMPLER_H_
