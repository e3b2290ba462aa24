#include "examples/host_monitor/detector.h"

#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "examples/host_monitor/host_monitor.pb.h"
#include "examples/host_monitor/metrics.h"

namespace host_monitor {
namespace {

// The watches of all metrics.
class Watches final {
 public:
  explicit Watches(const OutlierWatch::Options& options) : options_(options) {}

  std::vector<Anomaly> Add(const HostSample& sample) {
    std::vector<Anomaly> anomalies;
    for (const Metric& metric : MetricsOf(sample)) {
      const auto found = WatchOf(metric).Add(metric.value);
      if (!found.has_value()) continue;
      Anomaly& anomaly = anomalies.emplace_back();
      anomaly.set_time_ns(sample.time_ns());
      anomaly.set_metric(metric.name);
      anomaly.set_unit(metric.unit);
      anomaly.set_value(metric.value);
      anomaly.set_usual(found->median);
      anomaly.set_score(found->score);
    }
    ++samples_;
    return anomalies;
  }

  size_t samples() const { return samples_; }
  size_t metrics() const { return watches_.size(); }

 private:
  OutlierWatch& WatchOf(const Metric& metric) {
    OutlierWatch::Options options = options_;
    options.mad_min = metric.noise;
    return watches_.try_emplace(metric.name, options).first->second;
  }

  const OutlierWatch::Options options_;
  std::map<std::string, OutlierWatch> watches_;
  size_t samples_ = 0;
};

}  // namespace

absl::Status Detector::Run(const absl::Notification& stop) {
  absl::StatusOr<mycelium::Publisher<Anomaly>> anomalies =
      bus_.Publisher<Anomaly>();
  if (!anomalies.ok()) return anomalies.status();
  Watches watches(options_);
  // On a thread of its own: the sampler waits neither for the statistics nor
  // for the subscribers to anomalies.
  mycelium::SubscriberOptions queued;
  queued.delivery = mycelium::DeliveryMode::kQueued;
  absl::StatusOr<mycelium::SubscriptionHandle> samples =
      bus_.Subscribe<HostSample>(
          [&](const HostSample& sample, const mycelium::MessageInfo&) {
            for (const Anomaly& anomaly : watches.Add(sample)) {
              absl::Status sent = anomalies->Publish(anomaly);
              if (!sent.ok()) {
                std::cerr << "detector: " << anomaly.metric()
                          << " not told: " << sent.message() << std::endl;
              }
            }
            if (watches.samples() == options_.warm_up) {
              std::cout << absl::StrCat("detector: knows ", watches.metrics(),
                                        " metrics after ", watches.samples(),
                                        " samples\n")
                        << std::flush;
            }
          },
          queued);
  if (!samples.ok()) return samples.status();
  stop.WaitForNotification();
  return absl::OkStatus();
}

}  // namespace host_monitor
