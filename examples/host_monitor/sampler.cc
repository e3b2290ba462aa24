#include "examples/host_monitor/sampler.h"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>

#include "absl/time/clock.h"
#include "examples/host_monitor/host_monitor.pb.h"
#include "examples/host_monitor/host_reader.h"

namespace host_monitor {

absl::Status Sampler::Run(const absl::Notification& stop) {
  using Clock = std::chrono::steady_clock;
  absl::StatusOr<mycelium::Publisher<HostSample>> samples =
      bus_.Publisher<HostSample>();
  if (!samples.ok()) return samples.status();
  HostReader reader(options_.proc_path);
  // The first sample is compared with this reading.
  if (auto first = reader.Read(absl::Now()); !first.ok()) {
    return first.status();
  }
  const Clock::duration period = absl::ToChronoNanoseconds(options_.period);
  Clock::time_point next = Clock::now() + period;
  while (!stop.WaitForNotificationWithTimeout(
      absl::FromChrono(next - Clock::now()))) {
    // After a stall the service goes on from now and does not make up for
    // missed samples.
    next = std::max(next + period, Clock::now());
    absl::StatusOr<HostSample> sample = reader.Read(absl::Now());
    if (!sample.ok()) return sample.status();
    // The sample is handed over as a pointer, so a subscriber of this process
    // gets no copy.
    absl::Status sent = samples->Publish(
        std::make_shared<const HostSample>(*std::move(sample)));
    if (absl::IsResourceExhausted(sent)) {
      std::cerr << "sampler: sample left out: " << sent.message() << std::endl;
    } else if (!sent.ok()) {
      return sent;
    }
  }
  return absl::OkStatus();
}

}  // namespace host_monitor
