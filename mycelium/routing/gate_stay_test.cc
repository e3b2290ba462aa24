#include "mycelium/routing/gate_stay.h"

#include <memory>
#include <thread>

#include "gtest/gtest.h"
#include "mycelium/base/environment.h"

namespace mycelium {
namespace {

std::shared_ptr<Subscription> Make() {
  Subscription::Options options;
  options.service = "reader";
  options.topic = "readings";
  options.mode = DeliveryMode::kInline;
  options.lane_bytes = 4096;
  options.frame_bytes_max = 1024;
  return *Subscription::Create(
      Environment::Real(), options,
      [](const Payload&, const MessageInfo&) { return true; },
      [](LogLevel, absl::string_view) {});
}

class GateStayTest : public testing::Test {
 protected:
  // Whether a frame for `subscription` was handled.
  bool Handle(const std::shared_ptr<Subscription>& subscription) {
    return stay_.RunInside(*subscription, [&] {
      ++handled_;
      EXPECT_TRUE(subscription->gate().IsInside());
    });
  }

  GateStay stay_;
  int handled_ = 0;
  std::shared_ptr<Subscription> first_ = Make(), second_ = Make();
};

TEST_F(GateStayTest, OutsideOfARowTheGateIsLeftAtOnce) {
  EXPECT_TRUE(Handle(first_));
  EXPECT_FALSE(first_->gate().IsRunning());
}

TEST_F(GateStayTest, ARowStaysInsideUntilItsEnd) {
  stay_.Begin();
  EXPECT_TRUE(Handle(first_));
  EXPECT_TRUE(first_->gate().IsInside());
  EXPECT_TRUE(Handle(first_));
  stay_.End();
  EXPECT_FALSE(first_->gate().IsRunning());
  EXPECT_EQ(handled_, 2);
}

TEST_F(GateStayTest, AnInnerRowEndsToo) {
  stay_.Begin();
  stay_.Begin();
  EXPECT_TRUE(Handle(first_));
  stay_.End();
  EXPECT_FALSE(first_->gate().IsRunning());
  EXPECT_TRUE(Handle(first_));
  EXPECT_TRUE(first_->gate().IsInside()) << "the outer one goes on";
  stay_.End();
  EXPECT_FALSE(first_->gate().IsRunning());
}

TEST_F(GateStayTest, ItIsInsideOneGateAtATime) {
  stay_.Begin();
  EXPECT_TRUE(Handle(first_));
  EXPECT_TRUE(Handle(second_));
  EXPECT_FALSE(first_->gate().IsRunning());
  EXPECT_TRUE(second_->gate().IsInside());
  stay_.Leave();
  EXPECT_FALSE(second_->gate().IsRunning());
  EXPECT_TRUE(Handle(first_)) << "the row goes on";
  EXPECT_TRUE(first_->gate().IsInside());
  stay_.End();
  EXPECT_FALSE(first_->gate().IsRunning());
}

TEST_F(GateStayTest, WhoFoundItBusyIsAnsweredBeforeTheNextHandler) {
  stay_.Begin();
  EXPECT_TRUE(Handle(first_));
  std::thread([&] { EXPECT_FALSE(first_->gate().MarkPending()); }).join();
  EXPECT_TRUE(stay_.RunInside(
      *first_, [&] { EXPECT_TRUE(first_->gate().IsUndisturbed()); }));
  stay_.End();
}

TEST_F(GateStayTest, WhoFoundItBusyWhileTheHandlerRanIsAnsweredAfterIt) {
  stay_.Begin();
  EXPECT_TRUE(stay_.RunInside(*first_, [&] {
    std::thread([&] { EXPECT_FALSE(first_->gate().MarkPending()); }).join();
  }));
  EXPECT_FALSE(first_->gate().IsRunning());
  stay_.End();
}

TEST_F(GateStayTest, WhoClosesItWaitsForNoFurtherFrame) {
  stay_.Begin();
  EXPECT_TRUE(Handle(first_));
  std::thread([&] { EXPECT_FALSE(first_->gate().Shut()); }).join();
  EXPECT_FALSE(Handle(first_));
  EXPECT_FALSE(first_->gate().IsRunning());
  EXPECT_EQ(handled_, 1);
  stay_.End();
}

TEST_F(GateStayTest, AGateThatAnotherThreadIsInsideIsNotStayedIn) {
  std::thread([&] {
    ASSERT_EQ(second_->gate().TryEnter(), Gate::Entry::kEntered);
  }).join();
  stay_.Begin();
  EXPECT_TRUE(Handle(first_));
  EXPECT_FALSE(Handle(second_));
  EXPECT_FALSE(first_->gate().IsRunning());
  stay_.End();
  EXPECT_EQ(handled_, 1);
  EXPECT_TRUE(second_->gate().IsRunning()) << "it is the other's to leave";
  second_->Leave();
}

TEST_F(GateStayTest, WithinAHandlerItIsAsIfThereWereNoRow) {
  stay_.Begin();
  EXPECT_TRUE(stay_.RunInside(*first_, [&] {
    EXPECT_FALSE(Handle(first_)) << "a handler does not recurse";
    stay_.Leave();
    EXPECT_TRUE(first_->gate().IsInside());
    stay_.Begin();
    EXPECT_TRUE(Handle(second_));
    EXPECT_FALSE(second_->gate().IsRunning());
    stay_.End();
    EXPECT_TRUE(first_->gate().IsInside());
  }));
  stay_.End();
  EXPECT_FALSE(first_->gate().IsRunning());
  EXPECT_EQ(handled_, 1);
}

}  // namespace
}  // namespace mycelium
