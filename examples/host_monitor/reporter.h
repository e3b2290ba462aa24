#ifndef EXAMPLES_HOST_MONITOR_REPORTER_H_
#define EXAMPLES_HOST_MONITOR_REPORTER_H_

#include <ostream>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "mycelium/bus/message_bus.h"

namespace host_monitor {

// The service "reporter": subscribes to HostSample and Anomaly and shows them.
// On a terminal it draws a table again and again; elsewhere it prints a line
// for each view and for each anomaly.
//
// Ownership: borrows the bus and the stream, which must outlive it.
class Reporter final {
 public:
  struct Options {
    absl::Duration refresh = absl::Seconds(1);
    bool is_terminal = false;
  };

  Reporter(mycelium::MessageBus& bus, std::ostream& out, const Options& options)
      : bus_(bus), out_(out), options_(options) {}

  // Works until `stop` is notified. Errors of the bus end it.
  absl::Status Run(const absl::Notification& stop);

 private:
  mycelium::MessageBus& bus_;
  std::ostream& out_;
  const Options options_;
};

}  // namespace host_monitor

#endif  // EXAMPLES_HOST_MONITOR_REPORTER_H_
