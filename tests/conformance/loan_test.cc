// Memory that a raw publisher lends: which subscribers read it, how long it
// lasts, and that it hinders nothing else.

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/support/notification.h"

namespace mycelium::test {
namespace {

constexpr char kSmallLanes[] =
    "[limits]\nframe_bytes_max = 4096\n"
    "[defaults]\nlane_bytes = \"64KiB\"";
constexpr size_t kBlobBytes = 1000;

class LoanTest : public ConformanceTest {
 protected:
  static constexpr size_t kLarge = 4000;

  static PublisherOptions NeverWaiting() {
    PublisherOptions options;
    options.publish_timeout = absl::ZeroDuration();
    return options;
  }

  void OpenWith(size_t subscriptions, const SubscriberOptions& options = {}) {
    Open(kSmallLanes);
    for (size_t i = 0; i < subscriptions; ++i) {
      SubscriberOptions named = options;
      named.name = absl::StrCat("s", i);
      auto pull = beta_->RawSubscriber(type_, named);
      ASSERT_TRUE(pull.ok()) << pull.status();
      pulls_.push_back(*std::move(pull));
    }
    auto publisher = alpha_->RawPublisher(type_, "", NeverWaiting());
    ASSERT_TRUE(publisher.ok()) << publisher.status();
    publisher_.emplace(*std::move(publisher));
    ASSERT_THAT(publisher_->WaitForSubscribers(subscriptions, kLong), IsOk());
  }

  Loan Borrow(size_t bytes, int fill) {
    auto loan = publisher_->Loan(bytes);
    EXPECT_TRUE(loan.ok()) << loan.status();
    std::memset(loan->bytes().data(), fill, bytes);
    return *std::move(loan);
  }

  static bool IsFilled(absl::Span<const std::byte> bytes, int fill) {
    return std::all_of(bytes.begin(), bytes.end(), [&](std::byte byte) {
      return byte == static_cast<std::byte>(fill);
    });
  }

  void FinishAll() {
    for (RawSubscriber& pull : pulls_) (void)pull.TryReceive();
  }

  const MessageType type_ = RawMessageType("bytes");
  std::vector<RawSubscriber> pulls_;
  std::optional<RawPublisher> publisher_;
};

TEST_P(LoanTest, IsReadWhereItWasWrittenByAllInThisProcess) {
  OpenWith(2);
  const bool local = GetParam() == "inproc";
  Loan loan = Borrow(kLarge, 7);
  // Over shared memory the peer maps it at once, or a little later.
  if (GetParam() != "shm") {
    EXPECT_EQ(loan.in_place(), local);
  }
  const std::byte* const written = loan.bytes().data();
  ASSERT_THAT(loan.Publish(), IsOk());
  EXPECT_TRUE(loan.bytes().empty());
  EXPECT_FALSE(loan.in_place());
  for (RawSubscriber& pull : pulls_) {
    auto bytes = pull.Receive(kLong);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(bytes->size(), kLarge);
    EXPECT_TRUE(IsFilled(*bytes, 7));
    EXPECT_EQ(bytes->data() == written, local);
  }
  FinishAll();
}

TEST_P(LoanTest, SmallOneIsCopied) {
  OpenWith(1);
  const size_t most = Payload::kHandOverBytesMin - 1;
  Loan loan = Borrow(most, 7);
  EXPECT_FALSE(loan.in_place());
  ASSERT_THAT(loan.Publish(), IsOk());
  auto bytes = pulls_[0].Receive(kLong);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(bytes->size(), most);
  EXPECT_TRUE(IsFilled(*bytes, 7));
  FinishAll();
}

TEST_P(LoanTest, OpenOneHoldsNobodyUp) {
  OpenWith(1);
  Loan open = Borrow(kLarge, 1);
  // Many times what the lane holds passes by, as other messages and other
  // loans.
  const std::vector<std::byte> other(kLarge, std::byte{2});
  for (int i = 0; i < 100; ++i) {
    ASSERT_THAT(publisher_->Publish(other), IsOk());
    ASSERT_THAT(Borrow(kLarge, 3).Publish(), IsOk());
    for (const int fill : {2, 3}) {
      auto bytes = pulls_[0].Receive(kLong);
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      EXPECT_TRUE(IsFilled(*bytes, fill));
    }
    FinishAll();
    ASSERT_THAT(alpha_->Flush(kLong), IsOk());
  }
  EXPECT_TRUE(IsFilled(open.bytes(), 1));
  ASSERT_THAT(open.Publish(), IsOk());
  auto bytes = pulls_[0].Receive(kLong);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_TRUE(IsFilled(*bytes, 1));
  FinishAll();
}

TEST_P(LoanTest, MemoryIsNotUsedAgainBeforeItsMessageIsFinished) {
  OpenWith(2);
  ASSERT_THAT(Borrow(kLarge, 1).Publish(), IsOk());
  auto held = pulls_[0].Receive(kLong);
  ASSERT_TRUE(held.ok()) << held.status();
  ASSERT_TRUE(pulls_[1].Receive(kLong).ok());
  (void)pulls_[1].TryReceive();  // The other one has finished it.
  for (size_t i = 0; i < 2 * LoanPool::kSpareMax; ++i) {
    const Loan dropped = Borrow(kLarge, 2);
    EXPECT_TRUE(IsFilled(*held, 1));
  }
  // This also holds when the publisher is gone, and what it has lent with it.
  Loan late = Borrow(kLarge, 3);
  publisher_.reset();
  EXPECT_THAT(late.Publish(), HasCode(absl::StatusCode::kFailedPrecondition));
  EXPECT_TRUE(IsFilled(*held, 1));
  FinishAll();
}

TEST_P(LoanTest, TakesAsMuchRoomAsACopy) {
  Open(kSmallLanes);
  const std::vector<std::byte> bytes(kLarge);
  std::vector<uint64_t> fitted;
  for (const bool by_loan : {false, true}) {
    SubscriberOptions subscriber;
    subscriber.topic = by_loan ? "loans" : "copies";
    auto pull = beta_->RawSubscriber(type_, subscriber);
    PublisherOptions options = NeverWaiting();
    options.topic = subscriber.topic;
    auto publisher = alpha_->RawPublisher(type_, "", options);
    ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
    const auto publish = [&] {
      return by_loan ? publisher->Loan(kLarge)->Publish()
                     : publisher->Publish(bytes);
    };
    uint64_t count = 0;
    while (count < kMoreThanFits && publish().ok()) ++count;
    ASSERT_LT(count, kMoreThanFits) << "the lane never filled";
    for (uint64_t i = 0; i < count; ++i) {
      ASSERT_TRUE(pull->Receive(kLong).ok());
    }
    (void)pull->TryReceive();
    fitted.push_back(count);
  }
  EXPECT_EQ(fitted[0], fitted[1]);
}

TEST_P(LoanTest, WhatALossyLaneDropsGoesBackToItsPublisher) {
  SubscriberOptions newest;
  newest.overflow = Overflow::kLatest;
  OpenWith(1, newest);
  std::set<const std::byte*> used;
  for (int i = 0; i < 100; ++i) {
    Loan loan = Borrow(kLarge, i);
    used.insert(loan.bytes().data());
    ASSERT_THAT(loan.Publish(), IsOk());
  }
  EXPECT_LE(used.size(), 3u);
  bool is_last = false;
  while (!is_last) {
    auto bytes = pulls_[0].Receive(kLong);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    is_last = IsFilled(*bytes, 99);
  }
  FinishAll();
}

TEST_P(LoanTest, SeveralArePublishedInTheOrderOfPublishing) {
  Open();
  const MessageType type = RawMessageType("bytes");
  Inbox got;
  auto handle = beta_->SubscribeRaw(
      type, [&](absl::Span<const std::byte> bytes, const MessageInfo&) {
        uint64_t id = 0;
        ASSERT_EQ(bytes.size(), sizeof id);
        std::memcpy(&id, bytes.data(), sizeof id);
        got.Add(id);
      });
  auto publisher = alpha_->RawPublisher(type);
  ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
  std::vector<Loan> loans;
  for (uint64_t id = 1; id <= 4; ++id) {
    auto loan = publisher->Loan(sizeof id);
    ASSERT_TRUE(loan.ok()) << loan.status();
    std::memcpy(loan->bytes().data(), &id, sizeof id);
    loans.push_back(*std::move(loan));
  }
  EXPECT_THAT(loans[2].Publish(), IsOk());
  EXPECT_THAT(loans[0].Publish(), IsOk());
  loans.erase(loans.begin() + 1);  // Given back unpublished.
  EXPECT_THAT(loans[2].Publish(), IsOk());
  EXPECT_TRUE(got.WaitFor(3));
  EXPECT_EQ(got.ids(), (std::vector<uint64_t>{3, 1, 4}));
  EXPECT_THAT(loans[2].Publish(),
              HasCode(absl::StatusCode::kFailedPrecondition));
}

TEST_P(LoanTest, SeveralOpenOnesReachAllWhomTheyAreFor) {
  OpenWith(3);
  std::vector<Loan> loans;
  for (int fill = 1; fill <= 4; ++fill) loans.push_back(Borrow(kLarge, fill));
  EXPECT_THAT(loans[2].Publish(), IsOk());
  EXPECT_THAT(loans[0].Publish(), IsOk());
  loans.erase(loans.begin() + 1);  // Given back unpublished.
  EXPECT_THAT(loans[2].Publish(), IsOk());
  for (auto& pull : pulls_) {
    for (const int fill : {3, 1, 4}) {
      auto bytes = pull.Receive(kLong);
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      EXPECT_EQ(bytes->size(), kLarge);
      EXPECT_TRUE(IsFilled(*bytes, fill)) << fill;
    }
  }
  FinishAll();
}

TEST_P(LoanTest, OneThatFoundNoRoomMayBePublishedAgain) {
  Open(kSmallLanes);
  const MessageType type = RawMessageType("bytes");
  auto pull = beta_->RawSubscriber(type);
  auto publisher = alpha_->RawPublisher(type, "", NeverWaiting());
  ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
  uint64_t accepted = 0;
  auto loan = publisher->Loan(kBlobBytes);
  while (accepted < kMoreThanFits && loan->Publish().ok()) {
    ++accepted;
    loan = publisher->Loan(kBlobBytes);
    std::memset(loan->bytes().data(), static_cast<int>(accepted), kBlobBytes);
  }
  ASSERT_LT(accepted, kMoreThanFits) << "the lane never filled";
  EXPECT_EQ(loan->bytes().size(), kBlobBytes);
  Notification room;
  publisher->CallWhenRoom([&] { room.Notify(); });
  for (uint64_t i = 0; i < accepted; ++i) {
    EXPECT_TRUE(pull->Receive(kLong).ok());
  }
  (void)pull->TryReceive();
  ASSERT_TRUE(room.WaitForNotificationWithTimeout(kLong));
  EXPECT_THAT(loan->Publish(), IsOk());
  auto last = pull->Receive(kLong);
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_EQ((*last)[0], static_cast<std::byte>(accepted));
  (void)pull->TryReceive();
}

TEST_P(LoanTest, OneLargerThanAFrameIsRefusedByName) {
  Open(kSmallLanes);
  auto pull = beta_->RawSubscriber(RawMessageType("bytes"));
  auto publisher = alpha_->RawPublisher(RawMessageType("bytes"));
  ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
  constexpr size_t kMost = 4096 - sizeof(FrameHeader);
  EXPECT_THAT(publisher->Loan(kMost + 1).status(),
              HasCode(absl::StatusCode::kInvalidArgument));
  auto most = publisher->Loan(kMost);
  ASSERT_TRUE(most.ok()) << most.status();
  EXPECT_THAT(most->Publish(), IsOk());
  EXPECT_TRUE(pull->Receive(kLong).ok());
  (void)pull->TryReceive();
}

MYCELIUM_ALL_TRANSPORTS(LoanTest);

}  // namespace
}  // namespace mycelium::test
