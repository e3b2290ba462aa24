#ifndef MYCELIUM_TESTING_LEDGER_CHECK_H_
#define MYCELIUM_TESTING_LEDGER_CHECK_H_

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "mycelium/bus/message_bus.h"

namespace mycelium {

// For the tests of services: what became of every message, by the counts of the
// nodes themselves. Call when nothing moves any more, as after Flush() of those
// who publish.
//
// `buses`: of every node that took part, since of two nodes the one counts what
// it accepted and the other what it delivered. One bus of a node will do.
//
// FAILED_PRECONDITION: a line for each flow that is not as it should be, with
// its counts and, if a node's are missing, which. Or nothing was published at
// all, which shows nothing.
//
// Example:
//   EXPECT_TRUE(bus->Flush(absl::Seconds(10)).ok());
//   EXPECT_EQ(CheckAllDelivered({bus.get()}), absl::OkStatus());

// Each message that was accepted was delivered, counts as dropped for a reason,
// or is in flight.
absl::Status CheckLedger(absl::Span<const MessageBus* const> buses);

// Each was delivered.
absl::Status CheckAllDelivered(absl::Span<const MessageBus* const> buses);

}  // namespace mycelium

#endif  // MYCELIUM_TESTING_LEDGER_CHECK_H_
