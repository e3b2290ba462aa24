#include "tests/benchmark/pinned_run.h"

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "gtest/gtest.h"
#include "tests/benchmark/clock.h"

namespace mycelium::bench {
namespace {

// A CPU that this test may run on; both roles share it if there is but one.
std::vector<int> TwoCpus() {
  cpu_set_t set;
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE && cpus.size() < 2; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  if (cpus.size() == 1) cpus.push_back(cpus[0]);
  return cpus;
}

PinnedRun TwoRoles(Role first, Role second) {
  PinnedRun run;
  run.cpus = TwoCpus();
  run.roles = {std::move(first), std::move(second)};
  return run;
}

absl::Status Idle(Stage&) { return absl::OkStatus(); }

absl::Status MeetForEver(Stage& stage) {
  while (stage.Meet()) {
  }
  return absl::OkStatus();
}

class PinnedRunTest : public testing::TestWithParam<PinnedRun::Sharing> {};

TEST_P(PinnedRunTest, RolesShareMemory) {
  PinnedRun run = TwoRoles(
      [](Stage& stage) {
        static_cast<std::atomic<int>*>(stage.shared())->store(41);
        return stage.Meet() ? absl::OkStatus() : absl::AbortedError("");
      },
      [](Stage& stage) {
        if (!stage.Meet()) return absl::AbortedError("");
        stage.MarkLast(
            0, 1 + static_cast<std::atomic<int>*>(stage.shared())->load());
        return absl::OkStatus();
      });
  run.sharing = GetParam();
  run.shared_bytes = 4096;
  const absl::StatusOr<RoundResult> result = RunPinned(run);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->messages, 42);
}

TEST_P(PinnedRunTest, EachRoleRunsOnItsCpu) {
  auto check = [](int cpu) {
    return [cpu](Stage&) {
      cpu_set_t set;
      sched_getaffinity(0, sizeof set, &set);
      const bool alone = CPU_COUNT(&set) == 1 && CPU_ISSET(cpu, &set);
      return alone ? absl::OkStatus() : absl::InternalError("elsewhere");
    };
  };
  const std::vector<int> cpus = TwoCpus();
  PinnedRun run = TwoRoles(check(cpus[0]), check(cpus[1]));
  run.sharing = GetParam();
  EXPECT_EQ(RunPinned(run).status(), absl::OkStatus());
}

TEST_P(PinnedRunTest, SamplesAndMarksComeBack) {
  PinnedRun run = TwoRoles(
      [](Stage& stage) {
        for (int64_t ns : {30, 10, 20, 99}) stage.AddSample(ns);
        stage.MarkFirst(100);
        return absl::OkStatus();
      },
      [](Stage& stage) {
        stage.MarkLast(350, 3);
        stage.AddSyscalls(7);
        return absl::OkStatus();
      });
  run.sharing = GetParam();
  run.samples_max = 3;
  const absl::StatusOr<RoundResult> result = RunPinned(run);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->latencies_ns, (std::vector<int64_t>{30, 10, 20}));
  EXPECT_EQ(result->elapsed_ns, 250);
  EXPECT_EQ(result->messages, 3);
  EXPECT_EQ(result->syscalls, 7);
}

TEST_P(PinnedRunTest, SyscallsNobodyCountedAreAbsent) {
  PinnedRun run = TwoRoles(Idle, Idle);
  run.sharing = GetParam();
  const absl::StatusOr<RoundResult> result = RunPinned(run);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->syscalls.has_value());
}

TEST_P(PinnedRunTest, CpuTimeAndAllocationsCountOnlyWhatIsMeasured) {
  auto work = [](Stage& stage) {
    for (int i = 0; i < 50; ++i) Consume(std::make_unique<int>(i).get());
    if (!stage.Begin()) return absl::AbortedError("");
    for (int i = 0; i < 5; ++i) Consume(std::make_unique<int>(i).get());
    // One millisecond of this thread's own time, however often it is preempted.
    timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    const int64_t until =
        used.tv_sec * 1'000'000'000 + used.tv_nsec + 1'000'000;
    do {
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    } while (used.tv_sec * 1'000'000'000 + used.tv_nsec < until);
    stage.End();
    return absl::OkStatus();
  };
  PinnedRun run = TwoRoles(work, work);
  run.sharing = GetParam();
  const absl::StatusOr<RoundResult> result = RunPinned(run);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GE(*result->cpu_ns, 2'000'000);
  if (result->allocations.has_value()) {
    EXPECT_EQ(*result->allocations, 10);
  }
}

TEST_P(PinnedRunTest, StatusOfARoleEndsTheRun) {
  PinnedRun run = TwoRoles(
      [](Stage&) { return absl::UnavailableError("no socket"); }, MeetForEver);
  run.sharing = GetParam();
  EXPECT_EQ(RunPinned(run).status(), absl::UnavailableError("no socket"));
}

TEST_P(PinnedRunTest, StatusOfARoleEndsOthersInTheirCalls) {
  const int64_t begun_ns = NowNs();
  PinnedRun run = TwoRoles(
      [](Stage& stage) {
        if (!stage.Meet()) return absl::AbortedError("");
        return absl::UnavailableError("no socket");
      },
      [](Stage& stage) {
        while (stage.Meet()) pause();
        return absl::OkStatus();
      });
  run.sharing = GetParam();
  EXPECT_EQ(RunPinned(run).status(), absl::UnavailableError("no socket"));
  EXPECT_LT(NowNs() - begun_ns, run.deadline_ms * 1'000'000);
}

TEST_P(PinnedRunTest, CrashOfARoleIsNamedAndEndsTheRun) {
  PinnedRun run = TwoRoles(
      [](Stage&) {
        kill(getpid(), SIGKILL);
        return absl::OkStatus();
      },
      MeetForEver);
  run.sharing = GetParam();
  const absl::Status status = RunPinned(run).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_NE(status.message().find("signal 9"), absl::string_view::npos)
      << status;
}

TEST_P(PinnedRunTest, HangIsDeadlineExceeded) {
  PinnedRun run = TwoRoles(
      [](Stage&) {
        pause();
        return absl::OkStatus();
      },
      MeetForEver);
  run.sharing = GetParam();
  run.deadline_ms = 50;
  EXPECT_EQ(RunPinned(run).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

INSTANTIATE_TEST_SUITE_P(Sharings, PinnedRunTest,
                         testing::Values(PinnedRun::Sharing::kProcesses,
                                         PinnedRun::Sharing::kThreads),
                         [](const auto& info) {
                           return info.param == PinnedRun::Sharing::kProcesses
                                      ? "Processes"
                                      : "Threads";
                         });

TEST(OutcomeTest, FirstRecordedErrorSaysMoreThanHowProcessesEnded) {
  ControlBlock control = {};
  const absl::Status ended = absl::InternalError("a role exited");
  EXPECT_EQ(OutcomeOf(control, absl::OkStatus()), absl::OkStatus());
  EXPECT_EQ(OutcomeOf(control, ended), ended);
  RecordError(&control, absl::UnavailableError("no socket"));
  RecordError(&control, absl::AbortedError("the other side gave up"));
  EXPECT_TRUE(control.aborted);
  EXPECT_EQ(OutcomeOf(control, ended), absl::UnavailableError("no socket"));
}

TEST(OutcomeTest, ErrorThatWasNotRecordedWholeIsNone) {
  ControlBlock control = {};
  control.error_taken = true;
  const absl::Status ended = absl::DeadlineExceededError("run not over");
  EXPECT_EQ(OutcomeOf(control, ended), ended);
}

TEST(PinnedRunArgumentsTest, RolesWithoutCpusAreInvalid) {
  PinnedRun run;
  run.roles = {Idle};
  EXPECT_EQ(RunPinned(run).status().code(), absl::StatusCode::kInvalidArgument);
  run.roles.assign(kRolesMax + 1, Idle);
  run.cpus.assign(kRolesMax + 1, 0);
  EXPECT_EQ(RunPinned(run).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace mycelium::bench
