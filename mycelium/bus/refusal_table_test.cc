#include "mycelium/bus/refusal_table.h"

#include "gtest/gtest.h"

namespace mycelium {
namespace {

const absl::Status kDiffers = absl::FailedPreconditionError("differs");
const absl::Status kDiffersMore = absl::FailedPreconditionError("differs more");

class RefusalTableTest : public testing::Test {
 protected:
  RefusalTableTest() {
    table_.AddSubscription(1);
    table_.AddSubscription(2);
    table_.AddPublisher(7);
  }

  RefusalTable table_;
};

TEST_F(RefusalTableTest, RefusalIsNewsOnceAndHoldsUntilItsCauseIsGone) {
  EXPECT_FALSE(table_.has_any());
  EXPECT_TRUE(table_.Set(1, {"feed", 3}, kDiffers));
  EXPECT_FALSE(table_.Set(1, {"feed", 3}, kDiffers));
  EXPECT_TRUE(table_.HasNews(1));
  EXPECT_EQ(table_.TakeNews(1), kDiffers);
  EXPECT_FALSE(table_.HasNews(1));
  EXPECT_EQ(table_.TakeNews(1), absl::OkStatus());
  EXPECT_EQ(table_.Of(1), kDiffers);
  EXPECT_EQ(table_.Of(2), absl::OkStatus());
  table_.Clear(1, {"feed", 4});
  EXPECT_EQ(table_.Of(1), kDiffers);
  table_.Clear(1, {"feed", 3});
  EXPECT_EQ(table_.Of(1), absl::OkStatus());
  EXPECT_FALSE(table_.has_any());
}

TEST_F(RefusalTableTest, WhatPassesByItselfHoldsWithoutBeingNews) {
  const absl::Status waits = absl::ResourceExhaustedError("waits");
  EXPECT_TRUE(table_.Set(1, {"feed", 3}, waits, /*is_news=*/false));
  EXPECT_FALSE(table_.HasNews(1));
  EXPECT_EQ(table_.Of(1), waits);
  EXPECT_TRUE(table_.Set(1, {"feed", 3}, kDiffers));
  EXPECT_TRUE(table_.HasNews(1));
  EXPECT_TRUE(table_.Set(1, {"feed", 3}, waits, /*is_news=*/false));
  EXPECT_FALSE(table_.HasNews(1));
}

TEST_F(RefusalTableTest, OtherWordsAreNewsAgain) {
  table_.Set(1, {"feed", 3}, kDiffers);
  (void)table_.TakeNews(1);
  EXPECT_TRUE(table_.Set(1, {"feed", 3}, kDiffersMore));
  EXPECT_EQ(table_.TakeNews(1), kDiffersMore);
}

TEST_F(RefusalTableTest, PeerTakesItsRefusalsAlong) {
  table_.Set(1, {"feed", 3}, kDiffers);
  table_.Set(2, {"feed", 0}, kDiffers);
  table_.Set(2, {"brain", 3}, kDiffersMore);
  table_.RemovePeer("feed");
  EXPECT_EQ(table_.Of(1), absl::OkStatus());
  EXPECT_EQ(table_.Of(2), kDiffersMore);
}

TEST_F(RefusalTableTest, WhatAPeerThatIsBackDoesNotRepeatIsOver) {
  table_.Set(1, {"feed", 3}, kDiffers);
  table_.Set(1, {"feed", 4}, kDiffersMore);
  table_.Set(2, {"feed", 0}, kDiffers);
  while (table_.HasNews(1)) (void)table_.TakeNews(1);
  table_.ExpectRepeats("feed");
  EXPECT_FALSE(table_.Set(1, {"feed", 4}, kDiffersMore)) << "it is no news";
  table_.EndOfRepeats("feed");
  EXPECT_EQ(table_.Of(1), kDiffersMore);
  EXPECT_FALSE(table_.HasNews(1));
  EXPECT_EQ(table_.Of(2), kDiffers) << "no publisher's, so it is not repeated";
}

TEST_F(RefusalTableTest, PublisherOfThisNodeTakesItsRefusalsAlong) {
  table_.Set(1, {"", 7}, kDiffers);
  table_.Set(2, {"feed", 7}, kDiffersMore);
  table_.RemovePublisher(7);
  EXPECT_EQ(table_.Of(1), absl::OkStatus());
  EXPECT_EQ(table_.Of(2), kDiffersMore);
  EXPECT_FALSE(table_.Set(1, {"", 7}, kDiffers)) << "it came too late";
  EXPECT_EQ(table_.Of(1), absl::OkStatus());
}

TEST_F(RefusalTableTest, NothingIsRememberedOfAnEndedSubscription) {
  table_.Set(1, {"feed", 3}, kDiffers);
  table_.RemoveSubscription(1);
  EXPECT_FALSE(table_.has_any());
  EXPECT_FALSE(table_.Set(1, {"feed", 3}, kDiffers));
  EXPECT_FALSE(table_.has_any());
}

TEST_F(RefusalTableTest, OneSubscriptionRemembersSoManyAndNoMore) {
  for (uint32_t publisher = 1; publisher <= RefusalTable::kRefusalsMax;
       ++publisher) {
    EXPECT_TRUE(table_.Set(1, {"feed", publisher}, kDiffers));
  }
  EXPECT_FALSE(
      table_.Set(1, {"feed", RefusalTable::kRefusalsMax + 1}, kDiffers));
  EXPECT_TRUE(table_.Set(2, {"feed", 1}, kDiffers));
}

TEST_F(RefusalTableTest, AllAreThoseThatHold) {
  EXPECT_TRUE(table_.All().empty());
  table_.Set(1, {"feed", 3}, kDiffers);
  table_.Set(2, {"", 7}, kDiffersMore);
  (void)table_.TakeNews(1);  // The refusal still holds.
  const std::vector<RefusalTable::Held> all = table_.All();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].subscription, 1u);
  EXPECT_EQ(all[0].cause.peer, "feed");
  EXPECT_EQ(all[0].status, kDiffers);
  EXPECT_EQ(all[1].cause.publisher, 7u);
  table_.RemovePeer("feed");
  EXPECT_EQ(table_.All().size(), 1u);
}

}  // namespace
}  // namespace mycelium
