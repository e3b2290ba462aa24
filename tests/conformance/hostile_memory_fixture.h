#ifndef TESTS_CONFORMANCE_HOSTILE_MEMORY_FIXTURE_H_
#define TESTS_CONFORMANCE_HOSTILE_MEMORY_FIXTURE_H_

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/base/planted_bug.h"
#include "tests/conformance/raw_lane.h"
#include "tests/conformance/raw_peer.h"
#include "tests/conformance/served_node.h"
#include "tests/support/guarded_sys.h"

namespace mycelium::test {

// A node that shares memory, and whose mappings lie between guard pages. After
// each test it must serve others, its ledger must be true, and it must have
// left no mapping.
class HostileMemoryTest : public ::testing::Test {
 protected:
  // Switches on a bug of the product, to show that these tests notice it.
  static void SetUpTestSuite() {
#ifdef MYCELIUM_PLANTED_BUGS
    const char* const number = std::getenv("MYCELIUM_PLANTED_BUG");
    planted_bug = number == nullptr ? 0 : std::atoi(number);
#endif
  }

  HostileMemoryTest()
      : served_(std::make_unique<ServedNode>("shm", Guarded())) {}

  void TearDown() override {
    served_->ExpectServesOthers();
    for (const FlowReport& flow : served_->bus().FlowReports()) {
      ExpectTrue(flow);
    }
    served_ = nullptr;
    EXPECT_EQ(sys_.mapped(), 0u) << "mappings leak";
  }

  // Checks one side's part of the ledger of a flow between two nodes.
  void ExpectTrue(const FlowReport& flow) {
    SCOPED_TRACE(absl::StrCat(flow.publisher_node, " -> ", flow.subscriber_node,
                              " ", flow.subscription_name));
    const Ledger& ledger = flow.ledger;
    if (flow.publisher_node == flow.subscriber_node) {
      EXPECT_TRUE(ledger.Balances());
    } else if (flow.publisher_node == "served") {
      EXPECT_EQ(ledger.delivered, 0u);
      EXPECT_LE(ledger.in_flight + ledger.dropped_total(), ledger.accepted);
    } else {
      EXPECT_EQ(ledger.accepted, 0u);
      EXPECT_EQ(
          ledger.delivered,
          served_->IdsFrom(flow.publisher_node, flow.subscription_name).size());
    }
  }

  BusOptions Guarded() {
    BusOptions options;
    options.environment = &environment_;
    return options;
  }

  // Whatever a peer has written, Flush() returns and finds it.
  void Look() { (void)served_->bus().Flush(absl::ZeroDuration()); }

  static void Ring(RawPeer& peer) {
    v1::Control doorbell;
    doorbell.mutable_doorbell();
    peer.SendControl(doorbell);
  }

  // What the node says about its link to that peer.
  std::string Fallback(const std::string& name) {
    for (const LinkReport& link : served_->bus().LinkReports()) {
      if (link.peer == name) return link.fallback;
    }
    return "no such link";
  }

  // Expects that the link to that peer ends for a reason that contains all of
  // these texts.
  void ExpectDataLoss(const std::string& name,
                      const std::vector<std::string>& reasons) {
    const auto event =
        served_->EventWith(ConnectionEvent::State::kDisconnected, name);
    ASSERT_TRUE(event.has_value()) << served_->Told();
    EXPECT_EQ(event->status.code(), absl::StatusCode::kDataLoss)
        << event->status;
    const std::string message(event->status.message());
    EXPECT_THAT(message,
                ::testing::HasSubstr(absl::StrCat("link served -> ", name)));
    for (const std::string& reason : reasons) {
      EXPECT_THAT(message, ::testing::HasSubstr(reason));
    }
  }

  GuardedSys sys_;
  Environment environment_{sys_, Environment::Real().clock,
                           Environment::Real().waiter};
  std::unique_ptr<ServedNode> served_;
  int hostiles_ = 0;
};

}  // namespace mycelium::test

#endif  // TESTS_CONFORMANCE_HOSTILE_MEMORY_FIXTURE_H_
