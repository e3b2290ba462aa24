#ifndef TESTS_BENCHMARK_MYCELIUM_UNIX_SIDE_H_
#define TESTS_BENCHMARK_MYCELIUM_UNIX_SIDE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/benchmark/case.h"
#include "tests/benchmark/mycelium/counting_environment.h"
#include "tests/benchmark/mycelium/flow_totals.h"
#include "tests/benchmark/stage.h"

namespace mycelium::bench {

// What the two processes of a run tell each other outside the link. Starts as
// zeroes.
struct UnixShared {
  std::atomic<int> matched;  // Sides that found their subscribers.
  std::atomic<bool> warm;    // The warm-up was handled.
  std::atomic<bool> done;    // Everything was handled.
  std::atomic<int64_t> accepted;
  std::atomic<int64_t> delivered;
  std::atomic<int64_t> dropped;
};

// One of the two processes: its bus, and how its thread waits for what
// handlers do. Under poll = kCaller it waits by polling.
//
// Thread safety: the role's thread, except Fail() and failed().
class UnixSide final {
 public:
  UnixSide(Stage& stage, const Case& what, PollMode poll)
      : stage_(stage), what_(what), poll_(poll) {}

  // The first role dials, the second listens.
  absl::Status Open(const std::string& path);

  Stage& stage() { return stage_; }
  const Case& what() const { return what_; }
  MessageBus& bus() { return *bus_; }
  UnixShared& shared() { return *static_cast<UnixShared*>(stage_.shared()); }
  const CountingSys& sys() const { return world_.sys; }
  int64_t syscalls() const { return world_.sys.calls(); }
  // Tells the stage of the calls since there were `before`; not over gRPC,
  // because most calls are gRPC's own and are not counted.
  void AddSyscallsSince(int64_t before);
  bool polls() const { return poll_ == PollMode::kCaller; }

  // Waits until `done` holds. Returns the status of Fail(), if a handler called
  // that, even if `done` holds as well.
  absl::Status Until(absl::FunctionRef<bool()> done);

  // Waits until both sides have called it and `publisher` has its subscriber.
  absl::Status Match(const PublisherBase* publisher);

  // For handlers: ends the run.
  void Fail(const absl::Status& status);

  // Adds this side's counts, which should equal the arguments, to the shared
  // ones; in the first role checks the sum of both sides.
  absl::Status Settle(int64_t accepted, int64_t delivered);

 private:
  Stage& stage_;
  const Case& what_;
  const PollMode poll_;
  CountingEnvironment world_;
  std::unique_ptr<MessageBus> bus_;
  std::optional<UnixEndpointHandle> endpoint_;
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  absl::Status failure_;  // Guarded by mutex_.
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_MYCELIUM_UNIX_SIDE_H_
