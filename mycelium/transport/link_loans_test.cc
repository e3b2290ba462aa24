#include "mycelium/transport/link_loans.h"

#include "gtest/gtest.h"
#include "mycelium/transport/lane/fake_shared_memory.h"

namespace mycelium {
namespace {

using ::mycelium::test::MakeLoanMemory;
using Offer = LinkLoans::Offer;

class LinkLoansTest : public ::testing::Test {
 protected:
  std::shared_ptr<LoanMemory> memory_ = MakeLoanMemory(1, 4096);
  LinkLoans loans_;
};

TEST_F(LinkLoansTest, MemoryIsAnnouncedOnceAndTakenByItsAnswer) {
  EXPECT_EQ(loans_.OfferOut(memory_, true), Offer::kNew);
  EXPECT_EQ(loans_.OfferOut(memory_, true), Offer::kPending);
  EXPECT_EQ(loans_.TakeToAnnounce(), memory_);
  EXPECT_EQ(loans_.TakeToAnnounce(), nullptr);
  EXPECT_TRUE(loans_.AnswerOut(1, true));
  EXPECT_EQ(loans_.OfferOut(memory_, true), Offer::kTaken);
}

TEST_F(LinkLoansTest, AnswerThatNobodyAskedForIsNone) {
  EXPECT_FALSE(loans_.AnswerOut(1, true));
  (void)loans_.OfferOut(memory_, true);
  EXPECT_FALSE(loans_.AnswerOut(1, true)) << "it was not announced yet";
  (void)loans_.TakeToAnnounce();
  EXPECT_FALSE(loans_.AnswerOut(2, true));
  EXPECT_TRUE(loans_.AnswerOut(1, false));
  EXPECT_FALSE(loans_.AnswerOut(1, false)) << "said again";
  EXPECT_FALSE(loans_.AnswerOut(1, true)) << "another answer";
  EXPECT_EQ(loans_.OfferOut(memory_, true), Offer::kRefused);
}

TEST_F(LinkLoansTest, WhoCannotMapIsNotAskedAndToldOfNothing) {
  EXPECT_EQ(loans_.OfferOut(memory_, false), Offer::kRefused);
  EXPECT_EQ(loans_.TakeToAnnounce(), nullptr);
  memory_ = nullptr;
  const auto ended = loans_.TakeEnded();
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_FALSE(ended[0].told);
}

TEST_F(LinkLoansTest, MemoryEndsOnceWhenNobodyHasIt) {
  (void)loans_.OfferOut(memory_, true);
  (void)loans_.TakeToAnnounce();
  EXPECT_TRUE(loans_.TakeEnded().empty());
  memory_ = nullptr;
  const auto ended = loans_.TakeEnded();
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].memory, 1u);
  EXPECT_TRUE(ended[0].told);
  EXPECT_TRUE(loans_.TakeEnded().empty());
}

TEST_F(LinkLoansTest, UnansweredMemoryIsOfferedAnewOnTheNextConnection) {
  (void)loans_.OfferOut(memory_, true);
  (void)loans_.TakeToAnnounce();
  EXPECT_TRUE(loans_.Resume({}).lost.empty());
  EXPECT_FALSE(loans_.AnswerOut(1, true)) << "of the connection before";
  EXPECT_EQ(loans_.OfferOut(memory_, true), Offer::kNew);
  EXPECT_EQ(loans_.TakeToAnnounce(), memory_);
}

TEST_F(LinkLoansTest, MemoryWhoseOpeningMayHaveArrivedIsClosedAllTheSame) {
  (void)loans_.OfferOut(memory_, true);
  (void)loans_.TakeToAnnounce();
  (void)loans_.Resume({});
  memory_ = nullptr;
  const auto ended = loans_.TakeEnded();
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_TRUE(ended[0].told);
}

TEST_F(LinkLoansTest, MemoryThatThePeerHasMappedIsTakenThoughTheAnswerIsLost) {
  (void)loans_.OfferOut(memory_, true);
  (void)loans_.TakeToAnnounce();
  const LinkLoans::Resumed resumed = loans_.Resume({1});
  EXPECT_TRUE(resumed.lost.empty());
  EXPECT_TRUE(resumed.ended.empty());
  EXPECT_EQ(loans_.OfferOut(memory_, true), Offer::kTaken);
}

TEST_F(LinkLoansTest, ClosingThatWasLostIsSaidAgain) {
  (void)loans_.OfferOut(memory_, true);
  (void)loans_.TakeToAnnounce();
  (void)loans_.AnswerOut(1, true);
  memory_ = nullptr;
  (void)loans_.TakeEnded();  // Said on a connection that ends with the word.
  EXPECT_EQ(loans_.Resume({1}).ended, std::vector<uint32_t>{1});
}

TEST_F(LinkLoansTest, MemoryThatThePeerHasNoMoreIsOfferedAnew) {
  (void)loans_.OfferOut(memory_, true);
  (void)loans_.TakeToAnnounce();
  (void)loans_.AnswerOut(1, true);
  EXPECT_EQ(loans_.Resume({}).lost, std::vector<uint32_t>{1});
  EXPECT_EQ(loans_.OfferOut(memory_, true), Offer::kNew);
}

TEST_F(LinkLoansTest, AnotherProcessIsToldOfEverythingAnew) {
  (void)loans_.OfferOut(memory_, true);
  (void)loans_.TakeToAnnounce();
  (void)loans_.AnswerOut(1, true);
  loans_.ForgetOut();
  EXPECT_EQ(loans_.OfferOut(memory_, true), Offer::kNew);
}

}  // namespace
}  // namespace mycelium
