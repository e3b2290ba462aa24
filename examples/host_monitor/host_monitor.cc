// Runs services of the host monitor until it is told to stop:
//
//   host_monitor --topology monolith.toml --services sampler,detector,reporter
//   host_monitor --topology bundled.toml --services sampler
//
// The topology decides which services share a process and how their messages
// travel; this program and the services stay the same.
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "examples/host_monitor/detector.h"
#include "examples/host_monitor/reporter.h"
#include "examples/host_monitor/run_summary.h"
#include "examples/host_monitor/sampler.h"
#include "mycelium/bus/message_bus.h"

ABSL_FLAG(std::string, topology, "",
          "the topology file; none: what MYCELIUM_TOPOLOGY names");
ABSL_FLAG(std::vector<std::string>, services, {},
          "the services that this process hosts, of one node: sampler, "
          "detector, reporter. They are stopped in this order");
ABSL_FLAG(absl::Duration, period, absl::Milliseconds(100),
          "sampler: time between two samples");
ABSL_FLAG(absl::Duration, refresh, absl::Seconds(1),
          "reporter: time between two views");
ABSL_FLAG(absl::Duration, run_for, absl::InfiniteDuration(),
          "stop after this time, if no signal comes before");
ABSL_FLAG(std::string, report_json, "",
          "a file for the final ledger, as JSON; see run_report.proto");

namespace host_monitor {
namespace {

constexpr absl::Duration kShutdown = absl::Seconds(5);
// With a shorter period the thread would never rest.
constexpr absl::Duration kPeriodMin = absl::Milliseconds(1);
constexpr absl::Duration kPeriodMax = absl::Hours(24);

absl::Status CheckPeriod(absl::string_view flag, absl::Duration period) {
  if (kPeriodMin <= period && period <= kPeriodMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, ": ", absl::FormatDuration(period),
                   " is not from ", absl::FormatDuration(kPeriodMin), " to ",
                   absl::FormatDuration(kPeriodMax)));
}

// `rest`: the program's name and the arguments that are no flags.
absl::Status CheckArguments(const std::vector<char*>& rest) {
  if (rest.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", rest[1],
                     "\" belongs to no flag; several services are "
                     "--services=sampler,detector"));
  }
  if (absl::GetFlag(FLAGS_services).empty()) {
    return absl::InvalidArgumentError(
        "--services: which services does this process host?");
  }
  absl::Status checked = CheckPeriod("period", absl::GetFlag(FLAGS_period));
  checked.Update(CheckPeriod("refresh", absl::GetFlag(FLAGS_refresh)));
  const absl::Duration run_for = absl::GetFlag(FLAGS_run_for);
  if (run_for < absl::ZeroDuration()) {
    checked.Update(absl::InvalidArgumentError(absl::StrCat(
        "--run_for: ", absl::FormatDuration(run_for), " is less than 0")));
  }
  return checked;
}

absl::Status RunService(const std::string& name, mycelium::MessageBus& bus,
                        const absl::Notification& stop) {
  if (name == "sampler") {
    Sampler::Options options;
    options.period = absl::GetFlag(FLAGS_period);
    return Sampler(bus, options).Run(stop);
  }
  if (name == "detector") return Detector(bus, {}).Run(stop);
  if (name == "reporter") {
    Reporter::Options options;
    options.refresh = absl::GetFlag(FLAGS_refresh);
    options.is_terminal = isatty(STDOUT_FILENO) != 0;
    return Reporter(bus, std::cout, options).Run(stop);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--services: no code for \"", name,
                   "\"; known: sampler, detector, reporter"));
}

// A service on its thread. If it ends with an error, the process is told to
// stop as if by a signal.
class RunningService final {
 public:
  RunningService(std::string name, std::unique_ptr<mycelium::MessageBus> bus)
      : name_(std::move(name)), bus_(std::move(bus)), thread_([this] {
          status_ = RunService(name_, *bus_, stop_);
          if (!status_.ok()) kill(getpid(), SIGTERM);
        }) {}
  ~RunningService() { (void)Stop(); }

  // When this returns, all that the service published before the stop has been
  // handled.
  absl::Status Stop() {
    if (!thread_.joinable()) return absl::OkStatus();
    stop_.Notify();
    thread_.join();
    return status_.ok() ? bus_->Flush(kShutdown) : status_;
  }

  mycelium::MessageBus& bus() { return *bus_; }

 private:
  const std::string name_;
  const std::unique_ptr<mycelium::MessageBus> bus_;
  absl::Notification stop_;
  absl::Status status_;  // Of the service's thread, once it has ended.
  std::thread thread_;
};

mycelium::BusOptions BusOptions() {
  mycelium::BusOptions options;
  options.on_connection = [](const mycelium::ConnectionEvent& event) {
    using State = mycelium::ConnectionEvent::State;
    const bool is_up =
        event.state == State::kConnected || event.state == State::kReconnected;
    // The bus itself logs the other states, except kGone.
    if (!is_up && event.state != State::kGone) return;
    std::cerr << absl::StrCat("host_monitor: ", event.peer,
                              is_up ? " is connected over " : " is gone",
                              is_up ? event.transport : "", "\n");
  };
  return options;
}

// Signals are blocked in all threads; this function takes them.
void WaitForSignal(const sigset_t& signals, absl::Duration at_most) {
  if (at_most == absl::InfiniteDuration()) {
    int signal;
    sigwait(&signals, &signal);
    return;
  }
  using Clock = std::chrono::steady_clock;
  const Clock::time_point deadline =
      Clock::now() + absl::ToChronoNanoseconds(at_most);
  timespec left = absl::ToTimespec(at_most);
  // EINTR: the process was stopped, for example by Ctrl-Z, and goes on.
  while (sigtimedwait(&signals, nullptr, &left) < 0 && errno == EINTR) {
    left = absl::ToTimespec(std::max(absl::FromChrono(deadline - Clock::now()),
                                     absl::ZeroDuration()));
  }
}

absl::Status Run() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  std::vector<std::unique_ptr<RunningService>> services;
  for (const std::string& name : absl::GetFlag(FLAGS_services)) {
    absl::StatusOr<std::unique_ptr<mycelium::MessageBus>> bus =
        mycelium::MessageBus::FromTopology(absl::GetFlag(FLAGS_topology), name,
                                           BusOptions());
    if (!bus.ok()) return bus.status();
    services.push_back(std::make_unique<RunningService>(name, *std::move(bus)));
  }
  WaitForSignal(signals, absl::GetFlag(FLAGS_run_for));

  absl::Status ended;
  for (auto& service : services) ended.Update(service->Stop());
  // The services share their node, so one call and one report cover all of
  // them.
  mycelium::MessageBus& bus = services.front()->bus();
  ended.Update(bus.Shutdown(kShutdown));
  const RunReport report = ReportOf(bus);
  std::cout << ToText(report) << std::flush;
  const std::string path = absl::GetFlag(FLAGS_report_json);
  if (!path.empty()) ended.Update(WriteJson(report, path));
  return ended;
}

}  // namespace
}  // namespace host_monitor

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "watches this machine: --topology FILE --services NAME,NAME,...");
  absl::Status ended =
      host_monitor::CheckArguments(absl::ParseCommandLine(argc, argv));
  if (ended.ok()) ended = host_monitor::Run();
  if (ended.ok()) return 0;
  std::cerr << "host_monitor: " << ended << std::endl;
  return 1;
}
