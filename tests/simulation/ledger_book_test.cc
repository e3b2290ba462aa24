#include "tests/simulation/ledger_book.h"

#include <cstdint>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mycelium::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kFrom = 0, kTo = 1;

// A publisher whose subscriber's node dies once, and comes back in time.
class LedgerBookTest : public ::testing::Test {
 protected:
  LedgerBook::SubscriptionLife Subscribe(int incarnation) {
    LedgerBook::Subscription entry = {};
    entry.place = kTo;
    entry.incarnation = incarnation;
    entry.node = "node-1";
    entry.service = "to";
    entry.topic = "topic";
    entry.name = "s1";
    return book_.AddSubscription(entry);
  }

  void Deliver(LedgerBook::SubscriptionLife to, uint64_t first, uint64_t last) {
    for (uint64_t id = first; id <= last; ++id) {
      book_.CountDelivered(to, publisher_, id, id, /*lost_before=*/0,
                           /*redelivered=*/false);
    }
  }

  static FlowReport Report(uint64_t accepted, uint64_t delivered) {
    FlowReport report = {"topic", "node-0", "from", "node-1",
                         "to",    "s1",     "unix", {}};
    report.ledger.accepted = accepted;
    report.ledger.delivered = delivered;
    return report;
  }

  // The first process gets 1 to 60, the second one `first` to `last`.
  void Run(uint64_t first, uint64_t last) {
    const auto before = Subscribe(1);
    for (int i = 0; i < 100; ++i) book_.CountAccepted(publisher_);
    Deliver(before, 1, 60);
    book_.AddReports(kTo, 1, /*crashed=*/true, 0, {Report(0, 60)});
    book_.EndSubscription(before);
    const auto after = Subscribe(2);
    Deliver(after, first, last);
    book_.AddReports(kTo, 2, /*crashed=*/false, 0,
                     {Report(0, last - first + 1)});
    book_.AddReports(kFrom, 1, /*crashed=*/false, 0, {Report(100, 0)});
    book_.CheckLedger();
  }

  LedgerBook book_;
  const LedgerBook::PublisherLife publisher_ =
      book_.AddPublisher({kFrom, 1, "node-0", "from", "topic", ""});
};

TEST_F(LedgerBookTest, MessagesThatTheNextProcessGetsAgainAreNoTrouble) {
  Run(51, 100);
  EXPECT_THAT(book_.violations(), IsEmpty());
}

TEST_F(LedgerBookTest, MessagesThatCameAgainDoNotMakeUpForThoseThatDidNot) {
  Run(51, 90);  // 60 + 40: as many as were accepted.
  EXPECT_THAT(book_.violations(), ElementsAre(HasSubstr("(90 different)")));
}

}  // namespace
}  // namespace mycelium::test
