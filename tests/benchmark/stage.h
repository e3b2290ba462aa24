#ifndef TESTS_BENCHMARK_STAGE_H_
#define TESTS_BENCHMARK_STAGE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "tests/benchmark/usage_meter.h"

namespace mycelium::bench {

inline constexpr int kRolesMax = 4;

// The state that the roles of a run share with each other and with their
// supervisor, at the start of a mapping that all of them inherit. It starts as
// zeroes. Words that one role stores, or another one reads, for each message
// have cache lines of their own. Otherwise such lines would go back and forth
// between the CPUs, beside the measured traffic.
struct ControlBlock {
  alignas(64) std::atomic<bool> aborted;
  alignas(64) std::atomic<int64_t> samples;
  alignas(64) std::atomic<int64_t> meetings;  // Arrivals at Meet(), of all.
  std::atomic<int64_t> first_ns;
  std::atomic<int64_t> last_ns;
  std::atomic<int64_t> handled;
  std::atomic<int64_t> syscalls;
  std::atomic<bool> syscalls_counted;
  std::atomic<int64_t> late_wakes;
  Usage usage[kRolesMax];  // Of each process, written when its roles are done.
  std::atomic<bool> error_taken;
  char error[512];
  std::atomic<absl::StatusCode> error_code;  // Stored last.
};

// Keeps the first error of all roles, and ends the waits of the others.
// REQUIRES: `status` is not OK.
void RecordError(ControlBlock* control, const absl::Status& status);

// How a run ended: the recorded error, since it says more than `ended`, which
// is how the processes ended. A role that was killed while it recorded an error
// left none.
absl::Status OutcomeOf(const ControlBlock& control, const absl::Status& ended);

// One role's view of its run (the publisher's side or the subscriber's side):
// where to meet the other role, and where to leave its measurements.
//
// The usual course: set up, Meet(), warm up, Begin(), measured work, End(),
// return.
//
// Thread safety: used by the role's own thread. A callback on another thread of
// the role may call AddSample(), MarkLast() and AddSyscalls() if it is the only
// one that does.
//
// Lifetime: all pointers are valid until the role returns.
class Stage final {
 public:
  // Used by RunPinned(). All that it is given outlives the stage.
  Stage(int role, int roles, ControlBlock* control, UsageMeter* meter,
        void* shared, int64_t* samples, int64_t samples_max);

  int role() const { return role_; }

  // Memory of PinnedRun::shared_bytes that both roles map, zeroed, page-aligned
  // and at the same address.
  void* shared() const { return shared_; }

  // Returns true once every role has called it, or false once the run is lost
  // because a role failed. After false the role returns, with any status.
  [[nodiscard]] bool Meet();

  // Meets the others and starts counting CPU time, allocations and delays.
  [[nodiscard]] bool Begin();

  // Stops counting. Later calls replace earlier ones.
  void End();

  // True once a role failed: loops that wait for the other side look at it.
  bool aborted() const {
    return control_->aborted.load(std::memory_order_relaxed);
  }

  // Adds a one-way time. Those beyond PinnedRun::samples_max are dropped.
  void AddSample(int64_t ns) {
    if (samples_taken_ == samples_max_) return;
    samples_[samples_taken_++] = ns;
    control_->samples.store(samples_taken_, std::memory_order_relaxed);
  }

  // When the first message was published.
  void MarkFirst(int64_t now_ns);
  // When the last one was handled, and how many were since Begin().
  void MarkLast(int64_t now_ns, int64_t handled);

  // Adds system calls that the role counted itself. If no role calls it, they
  // are not counted.
  void AddSyscalls(int64_t count);

  // A sleeper had to be told a second time; see wake_words.h.
  void AddLateWake();

 private:
  const int role_;
  const int roles_;
  ControlBlock* const control_;
  UsageMeter* const meter_;
  void* const shared_;
  int64_t* const samples_;
  const int64_t samples_max_;
  int64_t samples_taken_ = 0;
  int64_t meetings_ = 0;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_STAGE_H_
