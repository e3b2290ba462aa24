#include "tests/benchmark/stage.h"

#include <cstdio>
#include <string>

#include "tests/benchmark/clock.h"

namespace mycelium::bench {

void RecordError(ControlBlock* control, const absl::Status& status) {
  if (!control->error_taken.exchange(true)) {
    const std::string text(status.message());
    std::snprintf(control->error, sizeof control->error, "%s", text.c_str());
    control->error_code.store(status.code());
  }
  control->aborted.store(true);
}

absl::Status OutcomeOf(const ControlBlock& control, const absl::Status& ended) {
  const absl::StatusCode code = control.error_code.load();
  if (code == absl::StatusCode::kOk) return ended;
  return absl::Status(code, control.error);
}

Stage::Stage(int role, int roles, ControlBlock* control, UsageMeter* meter,
             void* shared, int64_t* samples, int64_t samples_max)
    : role_(role),
      roles_(roles),
      control_(control),
      meter_(meter),
      shared_(shared),
      samples_(samples),
      samples_max_(samples_max) {}

bool Stage::Meet() {
  const int64_t everyone = roles_ * ++meetings_;
  // Pairs with the load below: what a role did before it came here is visible
  // to the other roles afterwards.
  control_->meetings.fetch_add(1, std::memory_order_acq_rel);
  while (control_->meetings.load(std::memory_order_acquire) < everyone) {
    if (aborted()) return false;
    CpuRelax();
  }
  return true;
}

bool Stage::Begin() {
  if (!Meet()) return false;
  meter_->Begin();
  // Reading the meter takes unequal times; start together all the same.
  return Meet();
}

void Stage::End() { meter_->End(); }

void Stage::MarkFirst(int64_t now_ns) {
  control_->first_ns.store(now_ns, std::memory_order_relaxed);
}

void Stage::MarkLast(int64_t now_ns, int64_t handled) {
  control_->last_ns.store(now_ns, std::memory_order_relaxed);
  control_->handled.store(handled, std::memory_order_relaxed);
}

void Stage::AddSyscalls(int64_t count) {
  control_->syscalls_counted.store(true, std::memory_order_relaxed);
  control_->syscalls.fetch_add(count, std::memory_order_relaxed);
}

void Stage::AddLateWake() {
  control_->late_wakes.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace mycelium::bench
