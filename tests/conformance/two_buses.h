#ifndef TESTS_CONFORMANCE_TWO_BUSES_H_
#define TESTS_CONFORMANCE_TWO_BUSES_H_

#include <cstdint>

#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"

namespace mycelium::test {

// Checks the sum of all that two buses published and received: each message was
// delivered.
inline void ExpectAllDelivered(const MessageBus& a, const MessageBus& b,
                               uint64_t messages) {
  Ledger sum;
  for (const MessageBus* bus : {&a, &b}) {
    for (const FlowReport& flow : bus->FlowReports()) sum += flow.ledger;
  }
  EXPECT_EQ(sum.accepted, messages);
  EXPECT_EQ(sum.delivered, messages);
  EXPECT_EQ(sum.dropped_total() + sum.in_flight, 0u);
}

}  // namespace mycelium::test

#endif  // TESTS_CONFORMANCE_TWO_BUSES_H_
