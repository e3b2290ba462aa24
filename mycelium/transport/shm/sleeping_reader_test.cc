// A reader in one process that falls asleep while the writer, in another one,
// publishes: invariant 9 of docs/shm_layout.md on the machine's own processors
// and kernel.
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "mycelium/base/clock.h"
#include "mycelium/base/cpu_relax.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/fd.h"
#include "mycelium/base/heavy_barrier.h"
#include "mycelium/base/sys.h"
#include "mycelium/transport/inbound_ring.h"
#include "mycelium/transport/lane/lane.h"
#include "mycelium/transport/lane/lane_publishing.h"
#include "mycelium/transport/shm/memfd_memory.h"
#include "tests/support/comes.h"

namespace mycelium {
namespace {

using Look = InboundRing::Look;

constexpr uint64_t kFramesMax = 100'000;
constexpr int64_t kRunNs = 3'000'000'000;  // Or so, where others compute.
constexpr std::byte kLast{1};              // The first byte of the last frame.
constexpr int kLooksMax = 1'000;
constexpr int kWaitMs = 20'000;

// How the reading process ends.
enum End : int { kGotAll, kNotMapped, kWrongFrame, kNotTold, kNoPromise };

class EventDoorbell final : public Lane::Doorbell {
 public:
  explicit EventDoorbell(int fd) : fd_(fd) {}
  void OnCommit(Lane&) override {
    ++rings;
    EXPECT_EQ(eventfd_write(fd_, 1), 0);
  }

  uint64_t rings = 0;

 private:
  const int fd_;
};

// How many looks, or pauses, a side spends until it does its part of what may
// cross the other's. Their times overlap.
class Spell final {
 public:
  explicit Spell(int seed) : random_(static_cast<uint32_t>(seed)) {}

  int Choose() { return looks_(random_); }

 private:
  std::minstd_rand random_;
  std::uniform_int_distribution<int> looks_{0, PausesIn(1'000)};
};

// Sleeps soon after every second frame, behind a barrier that it has promised.
// Before that it is awake when a frame comes, so that its promise is in the
// writer's cache.
End ReadAll(SharedLaneMemory& writers, int doorbell) {
  Sys& sys = Environment::Real().sys;
  const auto [ring_fd, positions_fd] = writers.descriptors();
  auto memory = MemfdMemory(sys).Map(Fd(sys, dup(ring_fd)),
                                     Fd(sys, dup(positions_fd)), kRingBytesMin);
  if (!memory.ok()) return kNotMapped;
  InboundRing::Options options;
  options.frame_bytes_max = kRingBytesMin / 2;
  options.has_barrier = &has_shared_heavy_barrier;
  options.busy_frames = 1;
  InboundRing ring(*memory, options);
  Spell spell(/*seed=*/1);
  int looks = 0;
  uint64_t taken = 0;
  uint64_t barriers = 0;
  bool is_last = false;
  while (!is_last) {
    const FrameView* view;
    uint64_t end;
    const Look look = ring.Peek(/*controls_seen=*/0, &view, &end);
    if (look == Look::kFrame) {
      if (view->header.lane_sequence != ++taken) return kWrongFrame;
      is_last = view->payload[0] == kLast;
      ring.Pop(/*handled=*/true);
      ring.NoteTaken(1);
      looks = taken % 2 == 0 ? spell.Choose() : kLooksMax;
      continue;
    }
    if (look != Look::kEmpty) return kWrongFrame;
    if (looks-- > 0) {
      CpuRelax();
      continue;
    }
    if (taken % 2 != 0) {
      sched_yield();  // The writer may need this CPU.
      continue;
    }
    if (ring.BeginSleep()) {
      SharedHeavyBarrier(sys);
      ++barriers;
    }
    if (!ring.HasWork(/*controls_seen=*/0)) {
      pollfd polled = {doorbell, POLLIN, 0};
      if (poll(&polled, 1, kWaitMs) != 1) return kNotTold;
      eventfd_t rings;
      if (eventfd_read(doorbell, &rings) != 0) return kNotTold;
    }
    ring.EndSleep();
  }
  return barriers > 0 ? kGotAll : kNoPromise;
}

TEST(SleepingReaderTest, IsToldOfEachFrameThatItsLastLookMissed) {
  AskForHeavyBarrier(Environment::Real().sys);
  if (!has_shared_heavy_barrier()) {
    GTEST_SKIP() << "the kernel has no membarrier between processes";
  }
  Lane::Options options;
  options.name = "a lane";
  options.capacity_bytes = kRingBytesMin;
  options.frame_bytes_max = kRingBytesMin / 2;
  const auto memory =
      *MemfdMemory(Environment::Real().sys).Create(Lane::MemoryBytes(options));
  options.shared = memory;
  ASSERT_EQ(memory->positions().takes_barriers.load(), 1u);
  const std::atomic<uint32_t> control_count{0};
  options.control_count = &control_count;
  const Fd bell(Environment::Real().sys, eventfd(0, EFD_CLOEXEC));
  ASSERT_GE(bell.get(), 0);
  const pid_t reader = fork();
  if (reader == 0) _exit(ReadAll(*memory, bell.get()));
  ASSERT_GT(reader, 0);

  EventDoorbell doorbell(bell.get());
  const auto lane = *Lane::Create(Environment::Real(), options, &doorbell);
  lane->SetMapped(true);
  std::vector<std::byte> payload(64);
  Spell spell(/*seed=*/2);
  int status = -1;
  const auto has_ended = [&] {
    return status != -1 || waitpid(reader, &status, WNOHANG) != 0;
  };
  Clock& clock = Environment::Real().clock;
  const TimeNs until = clock.NowNs() + kRunNs;
  for (uint64_t frame = 1; payload[0] != kLast && !has_ended(); ++frame) {
    if (frame == kFramesMax || clock.NowNs() >= until) payload[0] = kLast;
    EXPECT_EQ(lane->TryPublish(
                  payload.size(),
                  [&](FrameHeader*) { return absl::MakeConstSpan(payload); }),
              Lane::ClaimResult::kClaimed);
    // At first without giving way, which takes longer than the reader takes to
    // fall asleep.
    for (int i = 0; i < kLooksMax && !lane->empty(); ++i) CpuRelax();
    EXPECT_TRUE(test::Comes([&] { return lane->empty() || has_ended(); }));
    CpuRelax(spell.Choose());
  }
  if (!has_ended()) {
    ASSERT_EQ(waitpid(reader, &status, 0), reader);
  }
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), kGotAll);
  EXPECT_TRUE(lane->empty());
  EXPECT_GT(doorbell.rings, 0u) << "it slept";
}

}  // namespace
}  // namespace mycelium
