#include "examples/host_monitor/reporter.h"

#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <utility>

#include "examples/host_monitor/host_monitor.pb.h"
#include "examples/host_monitor/view.h"

namespace host_monitor {
namespace {

constexpr size_t kAnomaliesShownMax = 8;
// Cursor to the top left; clear from there to the end of the screen.
constexpr char kHomeAndClear[] = "\033[H\033[J";

// The latest samples and anomalies, and where they are shown. Thread safe.
class Screen final {
 public:
  Screen(std::ostream& out, bool is_terminal)
      : is_terminal_(is_terminal), out_(out) {}

  void Set(const HostSample& sample) {
    std::lock_guard<std::mutex> lock(mutex_);
    sample_ = sample;
    ++samples_;
  }

  void Add(const Anomaly& anomaly) {
    std::lock_guard<std::mutex> lock(mutex_);
    anomalies_.push_back(anomaly);
    if (anomalies_.size() > kAnomaliesShownMax) anomalies_.pop_front();
    if (is_terminal_) {
      Draw();
    } else {
      out_ << AnomalyLine(anomaly) << std::flush;
    }
  }

  void Refresh() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (samples_ == 0) return;
    if (is_terminal_) {
      Draw();
    } else {
      out_ << SampleLine(samples_, sample_) << std::flush;
    }
  }

 private:
  // REQUIRES: the lock is held.
  void Draw() {
    out_ << kHomeAndClear << Table(samples_, sample_, anomalies_) << std::flush;
  }

  const bool is_terminal_;
  std::mutex mutex_;  // Guards what follows.
  std::ostream& out_;
  uint64_t samples_ = 0;
  HostSample sample_;
  std::deque<Anomaly> anomalies_;
};

}  // namespace

absl::Status Reporter::Run(const absl::Notification& stop) {
  Screen screen(out_, options_.is_terminal);
  // On threads of their own: a terminal that scrolls slowly holds up no
  // publisher.
  mycelium::SubscriberOptions queued;
  queued.delivery = mycelium::DeliveryMode::kQueued;
  auto samples = bus_.Subscribe<HostSample>(
      [&screen](const HostSample& sample, const mycelium::MessageInfo&) {
        screen.Set(sample);
      },
      queued);
  if (!samples.ok()) return samples.status();
  auto anomalies = bus_.Subscribe<Anomaly>(
      [&screen](const Anomaly& anomaly, const mycelium::MessageInfo&) {
        screen.Add(anomaly);
      },
      queued);
  if (!anomalies.ok()) return anomalies.status();
  while (!stop.WaitForNotificationWithTimeout(options_.refresh)) {
    screen.Refresh();
  }
  return absl::OkStatus();
}

}  // namespace host_monitor
