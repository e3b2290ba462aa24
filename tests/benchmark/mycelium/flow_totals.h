#ifndef TESTS_BENCHMARK_MYCELIUM_FLOW_TOTALS_H_
#define TESTS_BENCHMARK_MYCELIUM_FLOW_TOTALS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "mycelium/bus/message_bus.h"

namespace mycelium::bench {

// The counts of a bus over all its publishers and subscriptions.
struct FlowTotals {
  int64_t accepted = 0;
  int64_t delivered = 0;
  int64_t dropped = 0;
};

FlowTotals TotalsOf(const MessageBus& bus);

// DATA_LOSS unless exactly `messages` were accepted and delivered, none
// dropped: figures of a run that lost messages are not worth printing.
absl::Status CheckTotals(const FlowTotals& totals, int64_t messages);

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_MYCELIUM_FLOW_TOTALS_H_
