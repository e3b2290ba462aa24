#ifndef MYCELIUM_BUS_BUS_FIXTURE_H_
#define MYCELIUM_BUS_BUS_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"

namespace mycelium {

// Tests of one bus without a topology, that is to say within this process.
//
// Thread safety: as a test has it.
class BusFixture : public ::testing::Test {
 protected:
  // Longer than anything takes if it works.
  static constexpr absl::Duration kLong = absl::Seconds(10);

  void SetUp() override {
    absl::StatusOr<std::unique_ptr<MessageBus>> bus =
        MessageBus::Create(BusOptions());
    ASSERT_TRUE(bus.ok()) << bus.status();
    bus_ = *std::move(bus);
  }

  // The sum over all flows. Expects that each balances, with nothing in flight.
  Ledger SettledLedger() const {
    Ledger sum;
    for (const FlowReport& flow : bus_->FlowReports()) {
      EXPECT_TRUE(flow.ledger.Balances());
      EXPECT_EQ(flow.ledger.in_flight, 0u);
      sum += flow.ledger;
    }
    return sum;
  }

  std::unique_ptr<MessageBus> bus_;
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_BUS_FIXTURE_H_
