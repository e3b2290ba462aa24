#include "mycelium/bus/observers.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/codec/frame_format.h"
#include "proto/mycelium/v1/control.pb.h"
#include "tests/support/driven_clock.h"

namespace mycelium {
namespace {

using ::mycelium::test::DrivenClock;

// What an observer sees of its connection, and does.
struct Wire {
  Channel::Handler* handler = nullptr;
  std::string sent;
  size_t room = ~size_t{0};  // How much more the pipe takes.
  bool may_observe = true;
  bool destroyed = false;

  // The first control message that came.
  v1::Control Answer() const {
    v1::Control control;
    EXPECT_GE(sent.size(), sizeof(RecordHeader));
    EXPECT_TRUE(control.ParseFromString(sent.substr(sizeof(RecordHeader))));
    return control;
  }
};

class WireChannel final : public Channel {
 public:
  explicit WireChannel(Wire& wire) : wire_(wire) {}
  ~WireChannel() override { wire_.destroyed = true; }
  void Start(Handler& handler) override { wire_.handler = &handler; }
  absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces) override {
    const size_t taken = std::min(pieces[0].iov_len, wire_.room);
    wire_.sent.append(static_cast<const char*>(pieces[0].iov_base), taken);
    wire_.room -= taken;
    return taken;
  }
  void Close() override {}
  bool may_observe() const override { return wire_.may_observe; }
  const std::string& peer_description() const override { return description_; }

 private:
  Wire& wire_;
  const std::string description_ = "pid 1, uid 2";
};

class ObserversTest : public ::testing::Test {
 protected:
  Wire& Add(Wire wire = {}) {
    wires_.push_back(std::make_unique<Wire>(std::move(wire)));
    observers_.Add(std::make_unique<WireChannel>(*wires_.back()));
    return *wires_.back();
  }
  void Run() {
    while (loop_->RunOnce(0, 0) == EventLoop::Ran::kSomething) continue;
  }

  DrivenClock clock_;
  Environment environment_{Sys::Real(), clock_, Environment::Real().waiter};
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create(environment_);
  int made_ = 0;
  int64_t takes_ns_ = 0;  // To make a status.
  std::vector<std::unique_ptr<Wire>> wires_;
  Observers observers_{environment_, *loop_, absl::Seconds(2), [this] {
                         clock_.now += takes_ns_;
                         v1::NodeStatus status;
                         status.set_node("us");
                         status.set_pid(++made_);
                         return status;
                       }};
};

TEST_F(ObserversTest, ObserverGetsOneStatusAndIsForgotten) {
  const Wire& wire = Add();
  EXPECT_EQ(wire.Answer().node_status().node(), "us");
  Run();
  EXPECT_TRUE(wire.destroyed);
  EXPECT_EQ(observers_.count(), 0u);
}

TEST_F(ObserversTest, StrangerIsToldThatHeMayNot) {
  Wire stranger;
  stranger.may_observe = false;
  const Wire& wire = Add(stranger);
  EXPECT_EQ(wire.Answer().reject().reason(), v1::Reject::NOT_ALLOWED);
  EXPECT_TRUE(wire.destroyed);
  EXPECT_EQ(made_, 0);
}

TEST_F(ObserversTest, WhoComesTooSoonWaitsAndSharesAnAnswer) {
  takes_ns_ = 1'000'000;
  (void)Add();
  const Wire& second = Add();
  const Wire& third = Add();
  Run();
  EXPECT_EQ(second.sent, "");
  clock_.now += Observers::kRest * takes_ns_ - 1;
  Run();
  EXPECT_EQ(made_, 1);
  clock_.now += 1;
  Run();
  EXPECT_EQ(made_, 2);
  EXPECT_EQ(second.Answer().node_status().pid(), 2);
  EXPECT_EQ(third.sent, second.sent);
  EXPECT_EQ(observers_.count(), 0u);
}

TEST_F(ObserversTest, RestHasABound) {
  takes_ns_ = 1'000'000'000;
  (void)Add();
  const Wire& second = Add();
  clock_.now += Observers::kRestMaxNs;
  Run();
  EXPECT_EQ(second.Answer().node_status().pid(), 2);
}

TEST_F(ObserversTest, OneTooManyIsRefusedAndTheNextIsNot) {
  Wire slow;
  slow.room = 0;
  for (size_t i = 0; i < Observers::kObserversMax; ++i) (void)Add(slow);
  const Wire& beyond = Add();
  EXPECT_EQ(beyond.Answer().reject().reason(), v1::Reject::TOO_MANY_OBSERVERS);
  EXPECT_TRUE(beyond.destroyed);
  wires_[0]->room = ~size_t{0};
  wires_[0]->handler->OnWritable();
  Run();
  EXPECT_EQ(Add().Answer().node_status().node(), "us");
}

TEST_F(ObserversTest, AnswerThatThePipeTakesInPartsArrivesWhole) {
  Wire slow;
  slow.room = 5;
  Wire& wire = Add(slow);
  Run();
  EXPECT_EQ(wire.sent.size(), 5u);
  EXPECT_FALSE(wire.destroyed);
  wire.room = ~size_t{0};
  wire.handler->OnWritable();
  EXPECT_EQ(wire.Answer().node_status().node(), "us");
  Run();
  EXPECT_TRUE(wire.destroyed);
}

TEST_F(ObserversTest, ObserverThatDoesNotReadIsClosedAtTheDeadline) {
  Wire stuck;
  stuck.room = 0;
  const Wire& wire = Add(stuck);
  clock_.now += absl::ToInt64Nanoseconds(absl::Seconds(2)) - 1;
  Run();
  EXPECT_FALSE(wire.destroyed);
  clock_.now += 1;
  Run();
  EXPECT_TRUE(wire.destroyed);
}

TEST_F(ObserversTest, ObserverThatLeavesWhileItWaitsIsForgotten) {
  takes_ns_ = 1'000'000;
  (void)Add();
  Wire& waiting = Add();
  waiting.handler->OnClosed(absl::UnavailableError("gone"));
  Run();
  EXPECT_TRUE(waiting.destroyed);
  EXPECT_EQ(observers_.count(), 0u);
}

TEST_F(ObserversTest, WhatAnObserverSaysBesidesMeansNothing) {
  Wire slow;
  slow.room = 0;
  Wire& wire = Add(slow);
  const std::string garbage(1 << 20, 'g');
  EXPECT_EQ(
      wire.handler->OnBytes(absl::MakeConstSpan(
          reinterpret_cast<const std::byte*>(garbage.data()), garbage.size())),
      garbage.size());
}

TEST_F(ObserversTest, CloseEndsThoseWhoWait) {
  takes_ns_ = 1'000'000;
  (void)Add();
  const Wire& waiting = Add();
  observers_.Close();
  EXPECT_TRUE(waiting.destroyed);
  clock_.now += absl::ToInt64Nanoseconds(absl::Seconds(9));
  Run();
  EXPECT_EQ(made_, 1);
}

}  // namespace
}  // namespace mycelium
