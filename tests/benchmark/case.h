#ifndef TESTS_BENCHMARK_CASE_H_
#define TESTS_BENCHMARK_CASE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mycelium::bench {

// The payload: bytes as they are, which the publisher copies; a Protobuf
// message of about that serialised size, encoded and decoded inside the
// measurement unless its handler runs inside the publish; or bytes that are
// written into a loan, of which only the first ones change from message to
// message.
enum class Kind { kRaw, kProtobuf, kLoan };

// How messages are offered. kLatency: ping-pong, one message in flight. kOpen:
// at a fixed rate, whatever the receiver does. kFlood: as fast as possible.
// kWake: as many as fit, and one more for each message that the receiver takes
// while the sender sleeps; the wake-up is timed.
enum class Mode { kLatency, kOpen, kFlood, kWake };

// How a side that has nothing to do waits. kSpin: it polls. kBlock: it sleeps
// in the kernel. kAdaptive: as users get it, it polls for a while, and the node
// has its usual threads. Both sides of a comparison wait the same way; a floor
// for kAdaptive polls.
enum class Wait { kSpin, kBlock, kAdaptive };

// One thing to measure. A floor and a candidate are given the same case.
struct Case {
  std::string transport;  // inproc, shm, unix or grpc.
  Kind kind = Kind::kRaw;
  Mode mode = Mode::kLatency;
  Wait wait = Wait::kSpin;
  size_t bytes = 64;        // Of the payload. At least kBytesMin.
  int64_t messages = 0;     // Measured messages; for kLatency, round trips.
  int64_t warm_up = 0;      // Sent before the measured ones.
  double rate_per_s = 0;    // kOpen only.
  size_t ring_bytes = 0;    // Capacity of the queue between the sides.
  int64_t deadline_ms = 0;  // For one run, set-up included.
};

// Room for the intended send time that an open-loop payload starts with.
inline constexpr size_t kBytesMin = 16;
inline constexpr size_t kBytesMax = size_t{64} << 20;

absl::string_view Name(Kind kind);
absl::string_view Name(Mode mode);
absl::string_view Name(Wait wait);

absl::StatusOr<Mode> ParseMode(absl::string_view name);
absl::StatusOr<Wait> ParseWait(absl::string_view name);
absl::StatusOr<Kind> ParseKind(absl::string_view name);

// "unix raw latency spin 64 B".
std::string Describe(const Case& what);

// How many messages keep one run of `what` at roughly `budget_ms`, from a rough
// idea of what its floor costs. A candidate of 100 ns a message takes at most
// ten times that.
int64_t MessagesFor(const Case& what, int64_t budget_ms);

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_CASE_H_
