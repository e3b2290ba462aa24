#ifndef MYCELIUM_TESTING_LEDGER_CHECK_H_
#define MYCELIUM_TESTING_LEDGER_CHECK_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mycelium/bus/message_bus.h"

namespace mycelium {

// For the tests of services: what became of every message, by the counts of the
// nodes themselves. Call when nothing moves any more, as after Flush() of those
// who publish: what a handler publishes is the next one's to flush.
//
// `buses`: of every node that took part, since of two nodes the one counts what
// it accepted and the other what it delivered. One bus of a node will do; a
// node that was started again is another one.
//
// `topics`: which messages it is about, each of which has to have been
// published. Empty: about all, some of which were.
//
// FAILED_PRECONDITION: a line for each flow that is not as it should be, with
// its counts and, if no bus of a node was given, which; or for each topic of
// which nothing was accepted, which shows nothing.
//
// Counts go by the names of nodes. Of a node that was started again all runs
// add to the same flows: that those of one run are missing shows in the sums,
// but is not said. A message that the next run gets again
// (MessageInfo::redelivered()) was accepted once, and counts as delivered by
// each run that handled it.
//
// A message whose handler threw was delivered all the same: ask
// SubscriptionHandle::handler_errors(), too.
//
// Thread safety: may be called from any thread. Ownership: borrows the buses
// for the call; none may be null.
//
// Example:
//   EXPECT_TRUE(bus->Flush(absl::Seconds(10)).ok());
//   EXPECT_EQ(CheckAllDelivered({bus.get()}), absl::OkStatus());

// Each message that was accepted was delivered, counts as dropped for a reason,
// or is in flight.
absl::Status CheckLedger(absl::Span<const MessageBus* const> buses,
                         absl::Span<const absl::string_view> topics = {});

// Each was delivered.
absl::Status CheckAllDelivered(absl::Span<const MessageBus* const> buses,
                               absl::Span<const absl::string_view> topics = {});

}  // namespace mycelium

#endif  // MYCELIUM_TESTING_LEDGER_CHECK_H_
