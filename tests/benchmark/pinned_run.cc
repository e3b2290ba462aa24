#include "tests/benchmark/pinned_run.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/cpu_watch.h"

namespace mycelium::bench {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;

// How often the supervisor checks its children. Valgrind, under which
// instructions are counted, has no pidfd_open().
constexpr int64_t kSuperviseMs = 50;

// /proc/stat counts in ticks of 10 ms, by sampling: a smaller value tells
// nothing.
constexpr int64_t kTickNoiseNs = 30 * kNsPerMs;

// Memory that this process and its forked children map at the same address.
class SharedMapping final {
 public:
  explicit SharedMapping(size_t bytes) : bytes_(std::max<size_t>(bytes, 1)) {
    memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  }
  ~SharedMapping() {
    if (ok()) munmap(memory_, bytes_);
  }
  SharedMapping(const SharedMapping&) = delete;
  SharedMapping& operator=(const SharedMapping&) = delete;

  bool ok() const { return memory_ != MAP_FAILED; }
  void* memory() const { return memory_; }

  // Maps the pages in this process now, so that no measurement pays for it. If
  // the kernel cannot do that, the warm-up does it.
  void Populate() const { madvise(memory_, bytes_, MADV_POPULATE_WRITE); }

 private:
  const size_t bytes_;
  void* memory_;
};

// The parts of a run, in the supervisor and in each child.
struct RunState {
  explicit RunState(const PinnedRun& what)
      : run(what),
        control_memory(sizeof(ControlBlock)),
        shared(what.shared_bytes),
        samples(what.samples_max * sizeof(int64_t)) {}

  bool ok() const { return control_memory.ok() && shared.ok() && samples.ok(); }
  ControlBlock* control() const {
    return static_cast<ControlBlock*>(control_memory.memory());
  }

  const PinnedRun& run;
  SharedMapping control_memory;
  SharedMapping shared;
  SharedMapping samples;
};

// glibc 2.36 declares pidfd_open() for C only.
int PidFd(pid_t pid) {
  return static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
}

absl::Status ErrnoError(absl::string_view what) {
  return absl::InternalError(absl::StrCat(what, ": ", strerror(errno)));
}

absl::Status PinThisThread(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) == 0) return absl::OkStatus();
  return ErrnoError(absl::StrCat("pin to cpu ", cpu));
}

absl::Status PlayRole(const RunState& state, int role, UsageMeter* meter) {
  const PinnedRun& run = state.run;
  absl::Status status = PinThisThread(run.cpus[role]);
  if (status.ok()) {
    Stage stage(role, static_cast<int>(run.roles.size()), state.control(),
                meter, state.shared.memory(),
                static_cast<int64_t*>(state.samples.memory()),
                role == run.sampling_role ? run.samples_max : 0);
    status = run.roles[role](stage);
  }
  if (!status.ok()) RecordError(state.control(), status);
  return status;
}

// Plays `roles` in this process, and then ends it.
[[noreturn]] void PlayProcess(const RunState& state, int process,
                              const std::vector<int>& roles, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // The parent died before the line above.
  state.shared.Populate();
  state.samples.Populate();
  UsageMeter meter;
  if (roles.size() == 1) {
    (void)PlayRole(state, roles[0], &meter);
  } else {
    std::vector<std::thread> threads;
    for (const int role : roles) {
      threads.emplace_back([&, role] {
        if (PlayRole(state, role, &meter).ok()) return;
        // The others may be in a call that waits for this role.
        std::fflush(nullptr);
        _exit(1);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  state.control()->usage[process] = meter.Total();
  std::fflush(nullptr);
  _exit(state.control()->aborted ? 1 : 0);
}

// A forked process that plays roles. The destructor kills and reaps it.
class Child final {
 public:
  explicit Child(pid_t pid) : pid_(pid), fd_(PidFd(pid)) {}
  ~Child() {
    Kill();
    Reap();
    if (fd_ >= 0) close(fd_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Readable once the process has ended. Negative (which poll() skips) after
  // the end is known, or where there are no such descriptors.
  int fd() const { return reaped_ ? -1 : fd_; }
  void Kill() {
    if (!reaped_) kill(pid_, SIGKILL);
  }
  void Reap() {
    if (reaped_) return;
    while (wait4(pid_, &wait_status_, 0, &usage_) < 0 && errno == EINTR) {
    }
    reaped_ = true;
  }
  // Reaps the process if it has ended. True only for the call that reaped it.
  bool TryReap() {
    if (reaped_) return false;
    reaped_ = wait4(pid_, &wait_status_, WNOHANG, &usage_) == pid_;
    return reaped_;
  }

  // After Reap().
  absl::Status Verdict() const {
    if (WIFEXITED(wait_status_) && WEXITSTATUS(wait_status_) == 0) {
      return absl::OkStatus();
    }
    if (WIFSIGNALED(wait_status_)) {
      return absl::InternalError(
          absl::StrCat("a role died of signal ", WTERMSIG(wait_status_), " (",
                       strsignal(WTERMSIG(wait_status_)), ")"));
    }
    return absl::InternalError(
        absl::StrCat("a role exited with status ", WEXITSTATUS(wait_status_)));
  }

  // All CPU time that it has ever used. After Reap().
  int64_t cpu_ns() const {
    const int64_t us =
        (int64_t{usage_.ru_utime.tv_sec} + usage_.ru_stime.tv_sec) * 1'000'000 +
        usage_.ru_utime.tv_usec + usage_.ru_stime.tv_usec;
    return us * 1000;
  }

 private:
  const pid_t pid_;
  const int fd_;
  bool reaped_ = false;
  int wait_status_ = 0;
  rusage usage_ = {};
};

using Children = std::vector<std::unique_ptr<Child>>;

absl::Status ForkInto(const RunState& state,
                      const std::vector<std::vector<int>>& processes,
                      Children* children) {
  std::fflush(nullptr);  // Otherwise a child writes it a second time.
  const pid_t parent = getpid();
  for (size_t i = 0; i < processes.size(); ++i) {
    const pid_t pid = fork();
    if (pid < 0) return ErrnoError("fork");
    if (pid == 0) {
      PlayProcess(state, static_cast<int>(i), processes[i], parent);
    }
    children->push_back(std::make_unique<Child>(pid));
  }
  return absl::OkStatus();
}

// Waits until all children have ended. The first one that fails ends the rest.
absl::Status Supervise(int64_t deadline_ms, const Children& children) {
  const int64_t deadline_ns = NowNs() + deadline_ms * kNsPerMs;
  size_t running = children.size();
  while (running > 0) {
    std::vector<pollfd> fds;
    for (const auto& child : children) {
      fds.push_back({child->fd(), POLLIN, 0});
    }
    const int64_t left_ms = (deadline_ns - NowNs()) / kNsPerMs;
    if (left_ms <= 0) {
      return absl::DeadlineExceededError(
          absl::StrCat("run not over after ", deadline_ms, " ms"));
    }
    // Without descriptors, looks from time to time.
    const int64_t turn_ms = std::min(left_ms, kSuperviseMs);
    if (poll(fds.data(), fds.size(), static_cast<int>(turn_ms)) < 0 &&
        errno != EINTR) {
      return ErrnoError("poll");
    }
    for (const auto& child : children) {
      if (!child->TryReap()) continue;
      --running;
      absl::Status verdict = child->Verdict();
      if (!verdict.ok()) return verdict;
    }
  }
  return absl::OkStatus();
}

RoundResult Collect(const RunState& state, size_t processes) {
  const ControlBlock& control = *state.control();
  RoundResult result;
  const auto* samples = static_cast<const int64_t*>(state.samples.memory());
  result.latencies_ns.assign(samples, samples + control.samples.load());
  result.elapsed_ns = control.last_ns.load() - control.first_ns.load();
  result.messages = control.handled.load();
  if (control.syscalls_counted) result.syscalls = control.syscalls.load();
  result.late_wakes = control.late_wakes.load();
  int64_t cpu_ns = 0;
  int64_t allocations = 0;
  bool counted = true;
  for (size_t i = 0; i < processes; ++i) {
    const Usage& usage = control.usage[i];
    cpu_ns += usage.cpu_ns;
    allocations += usage.allocations;
    counted = counted && usage.allocations_counted;
    result.foreign_ns += usage.delayed_ns;
  }
  result.cpu_ns = cpu_ns;
  if (counted) result.allocations = allocations;
  return result;
}

}  // namespace

absl::StatusOr<RoundResult> RunPinned(const PinnedRun& run) {
  const size_t roles = run.roles.size();
  if (roles == 0 || roles > kRolesMax || run.cpus.size() != roles) {
    return absl::InvalidArgumentError(absl::StrCat(
        roles, " roles on ", run.cpus.size(), " CPUs; at most ", kRolesMax));
  }
  RunState state(run);
  if (!state.ok()) return absl::ResourceExhaustedError("no memory for the run");
  std::vector<std::vector<int>> processes;
  for (int role = 0; role < static_cast<int>(roles); ++role) {
    if (processes.empty() || run.sharing == PinnedRun::Sharing::kProcesses) {
      processes.emplace_back();
    }
    processes.back().push_back(role);
  }

  const int64_t busy_before_ns = BusyNsNow(run.cpus);
  Children children;
  absl::Status outcome = ForkInto(state, processes, &children);
  if (outcome.ok()) outcome = Supervise(run.deadline_ms, children);
  // Nobody writes what is read below.
  for (const auto& child : children) child->Kill();
  for (const auto& child : children) child->Reap();
  outcome = OutcomeOf(*state.control(), outcome);
  if (!outcome.ok()) return outcome;

  RoundResult result = Collect(state, processes.size());
  int64_t busy_by_others_ns = BusyNsNow(run.cpus) - busy_before_ns;
  for (const auto& child : children) busy_by_others_ns -= child->cpu_ns();
  result.foreign_ns =
      std::max(result.foreign_ns, busy_by_others_ns - kTickNoiseNs);
  return result;
}

}  // namespace mycelium::bench
