#ifndef EXAMPLES_HOST_MONITOR_DETECTOR_H_
#define EXAMPLES_HOST_MONITOR_DETECTOR_H_

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "examples/host_monitor/outlier_watch.h"
#include "mycelium/bus/message_bus.h"

namespace host_monitor {

// The service "detector": subscribes to HostSample, keeps statistics of every
// figure and publishes an Anomaly when one leaves its recent range.
//
// It remembers nothing from one run to the next: after a restart it needs
// `Options::warm_up` samples before it finds anything. It says on standard
// output when it has them.
//
// Ownership: borrows the bus, which must outlive it.
class Detector final {
 public:
  // The options of every metric's watch; each metric has a `mad_min` of its
  // own, see metrics.h.
  using Options = OutlierWatch::Options;

  Detector(mycelium::MessageBus& bus, const Options& options)
      : bus_(bus), options_(options) {}

  // Works until `stop` is notified. Errors of the bus end it.
  absl::Status Run(const absl::Notification& stop);

 private:
  mycelium::MessageBus& bus_;
  const Options options_;
};

}  // namespace host_monitor

#endif  // EXAMPLES_HOST_MONITOR_DETECTOR_H_
