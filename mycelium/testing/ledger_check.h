#ifndef MYCELIUM_TESTING_LEDGER_CHECK_H_
#define MYCELIUM_TESTING_LEDGER_CHECK_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mycelium/bus/message_bus.h"

namespace mycelium {

// For the tests of services: what became of every message, by the nodes' own
// counts. Call it when nothing moves any more, for example after Flush() of the
// publishers. Messages that a handler publishes are the next node's to flush.
//
// `buses`: the buses of every node that took part, since between two nodes one
// counts what it accepted and the other what it delivered. One bus of a node is
// enough; a node that was started again is another one.
//
// `topics`: the topics to check; on each of them something has to have been
// published. Empty: all topics; something has to have been published on one of
// them.
//
// FAILED_PRECONDITION: a line for each flow that is not as it should be, with
// its counts and the node of which no bus was given, if there is one. Or a line
// for each topic on which nothing was accepted, because such a check shows
// nothing.
//
// Counts go by the names of nodes. If a node was started again, all its runs
// add to the same flows: if the counts of one run are missing, the sums show
// that, but the message does not say it. A message that the next run gets again
// (MessageInfo::redelivered()) was accepted once, and counts as delivered by
// each run that handled it.
//
// A message whose handler threw counts as delivered: check
// SubscriptionHandle::handler_errors(), too.
//
// Thread safety: may be called from any thread. Ownership: borrows the buses
// for the call; none may be null.
//
// Example:
//   EXPECT_TRUE(bus->Flush(absl::Seconds(10)).ok());
//   EXPECT_EQ(CheckAllDelivered({bus.get()}), absl::OkStatus());

// Checks that each accepted message was delivered, counts as dropped for a
// reason, or is in flight.
absl::Status CheckLedger(absl::Span<const MessageBus* const> buses,
                         absl::Span<const absl::string_view> topics = {});

// Checks that each was delivered.
absl::Status CheckAllDelivered(absl::Span<const MessageBus* const> buses,
                               absl::Span<const absl::string_view> topics = {});

}  // namespace mycelium

#endif  // MYCELIUM_TESTING_LEDGER_CHECK_H_
