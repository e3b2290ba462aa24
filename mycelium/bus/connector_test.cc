#include "mycelium/bus/connector.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/transport/outgoing.h"
#include "proto/mycelium/v1/control.pb.h"
#include "tests/support/driven_clock.h"

namespace mycelium {
namespace {

constexpr int64_t kMinNs = 10'000'000;
constexpr int64_t kMaxNs = 2'000'000'000;

using ::mycelium::test::DrivenClock;

// Does not sleep: if nothing is ready, time jumps to the deadline.
class DrivenWaiter final : public Waiter {
 public:
  explicit DrivenWaiter(DrivenClock& clock) : clock_(clock) {}
  void WaitWord(const std::atomic<uint32_t>&, uint32_t, TimeNs) override {}
  void WakeWord(const std::atomic<uint32_t>&) override {}
  int64_t WaitEpoll(int epoll_fd, epoll_event* events, int events_max,
                    TimeNs deadline) override {
    const int64_t ready =
        Sys::Real().EpollWait(epoll_fd, events, events_max, 0);
    if (ready == 0 && deadline != kNever) {
      clock_.now = std::max(clock_.now, deadline);
    }
    return ready;
  }

 private:
  DrivenClock& clock_;
};

v1::Control HelloOf(const std::string& node) {
  v1::Control control;
  control.mutable_hello()->set_protocol_version(kProtocolVersion);
  control.mutable_hello()->set_node(node);
  control.mutable_hello()->set_incarnation(1);
  return control;
}

v1::Control RejectOf(const std::string& node) {
  v1::Control control;
  control.mutable_reject()->set_reason(v1::Reject::ANOTHER_NODE);
  control.mutable_reject()->set_node(node);
  return control;
}

// Answers with `answer`, whatever is sent.
class AnsweringChannel final : public Channel {
 public:
  AnsweringChannel(EventLoop& loop, v1::Control answer)
      : loop_(loop), answer_(std::move(answer)) {}
  ~AnsweringChannel() override { *alive_ = false; }
  void Start(Handler& handler) override { handler_ = &handler; }
  absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces) override {
    loop_.Post([this, alive = alive_] {
      if (!*alive) return;
      std::string record;
      AppendControlRecord(answer_.SerializeAsString(), &record);
      handler_->OnBytes(absl::MakeConstSpan(
          reinterpret_cast<const std::byte*>(record.data()), record.size()));
    });
    size_t bytes = 0;
    for (const iovec& piece : pieces) bytes += piece.iov_len;
    return bytes;
  }
  void Close() override {}
  const std::string& peer_description() const override { return name_; }

 private:
  EventLoop& loop_;
  Handler* handler_ = nullptr;
  const v1::Control answer_;
  const std::string name_ = "an answering channel";
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

class ConnectorTest : public testing::Test, public Transport {
 protected:
  std::unique_ptr<Connector> Connecting(uint64_t seed) {
    random_.emplace(seed);
    Connector::Options options;
    options.address = "somewhere";
    options.reconnect_min = absl::Nanoseconds(kMinNs);
    options.reconnect_max = absl::Nanoseconds(kMaxNs);
    options.handshake = absl::Seconds(2);
    Connector::Callbacks callbacks;
    callbacks.hello = [this](const Connector& connector, v1::Hello* hello) {
      hello->set_to(connector.peer());
      return say_;
    };
    callbacks.judge = [](const Connector&, const Handshake::Established&) {
      return absl::OkStatus();
    };
    callbacks.on_established = [this](Connector&,
                                      Handshake::Established established) {
      connections_.push_back(std::move(established.channel));
    };
    callbacks.on_failure = [this](Connector&, const absl::Status& status) {
      failures_.push_back(std::string(status.message()));
      if (on_failure_ != nullptr) on_failure_();
    };
    return std::make_unique<Connector>(environment_, *loop_, *this, *random_,
                                       options, callbacks);
  }

  // How long the connector waited before each of the next tries.
  std::vector<int64_t> Waits(size_t count) {
    const size_t first = dials_.size() - 1;
    while (dials_.size() < first + count + 1) loop_->RunOnce(kNever, 0);
    std::vector<int64_t> waits;
    for (size_t i = first; i < first + count; ++i) {
      waits.push_back(dials_[i + 1] - dials_[i]);
    }
    return waits;
  }

  absl::string_view word() const override { return "fake"; }
  absl::StatusOr<std::unique_ptr<Listener>> Listen(const std::string&,
                                                   AcceptCallback) override {
    return absl::UnimplementedError("a connector only dials");
  }
  absl::StatusOr<std::unique_ptr<Channel>> Dial(const std::string&) override {
    dials_.push_back(clock_.now);
    if (!answers_) return absl::UnavailableError(reason_);
    return std::make_unique<AnsweringChannel>(*loop_, answer_);
  }

  DrivenClock clock_;
  DrivenWaiter waiter_{clock_};
  Environment environment_{Sys::Real(), clock_, waiter_};
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create(environment_);
  std::optional<Random> random_;
  bool answers_ = false;
  v1::Control answer_ = HelloOf("peer");
  Connector::Say say_ = Connector::Say::kHello;
  std::string reason_ = "nobody listens";
  std::vector<TimeNs> dials_;
  std::vector<std::unique_ptr<Channel>> connections_;
  std::vector<std::string> failures_;
  std::function<void()> on_failure_;
};

TEST_F(ConnectorTest, WaitsDoubleFromTheLeastToTheMostWithJitter) {
  const auto connector = Connecting(1);
  connector->Redial();
  ASSERT_EQ(dials_, std::vector<TimeNs>{1000}) << "the first try is at once";
  int64_t longest = kMinNs;
  int below = 0;
  for (const int64_t wait : Waits(40)) {
    EXPECT_GE(wait, longest / 2);
    EXPECT_LE(wait, longest);
    below += wait < longest;
    longest = std::min(2 * longest, kMaxNs);
  }
  EXPECT_EQ(longest, kMaxNs);
  EXPECT_GT(below, 30) << "that is the jitter";
}

TEST_F(ConnectorTest, JitterFollowsTheSeed) {
  std::vector<std::vector<int64_t>> waits;
  for (const uint64_t seed : {1, 1, 2}) {
    const auto connector = Connecting(seed);
    connector->Redial();
    waits.push_back(Waits(8));
  }
  EXPECT_EQ(waits[0], waits[1]);
  EXPECT_NE(waits[0], waits[2]);
}

TEST_F(ConnectorTest, ConnectionThatLivedStartsTheWaitsAnew) {
  const auto connector = Connecting(1);
  connector->Redial();
  (void)Waits(12);
  answers_ = true;
  while (connections_.empty()) loop_->RunOnce(kNever, 0);
  answers_ = false;
  clock_.now += 50'000'000;
  const TimeNs lost = clock_.now;
  connector->Redial();
  EXPECT_EQ(dials_.back(), lost) << "at once";
  EXPECT_LE(Waits(1)[0], kMinNs);
}

// As one of several addresses, say.
TEST_F(ConnectorTest, FailureSaysWhatWasDialled) {
  answers_ = true;
  answer_.mutable_reject()->set_reason(v1::Reject::NOT_ALLOWED);
  answer_.mutable_reject()->set_message("not you");
  const auto connector = Connecting(1);
  connector->Redial();
  while (failures_.empty()) loop_->RunOnce(kNever, 0);
  EXPECT_EQ(failures_[0],
            "dialling somewhere over fake: refused by the peer: NOT_ALLOWED: "
            "not you");
}

TEST_F(ConnectorTest, ConnectionThatBreaksAtOnceIsAFailure) {
  const auto connector = Connecting(1);
  answers_ = true;
  connector->Redial();
  int64_t longest = kMinNs;
  for (size_t tries = 1; tries <= 5; ++tries) {
    while (connections_.size() < tries) loop_->RunOnce(kNever, 0);
    const TimeNs broken = clock_.now;
    connector->Redial();
    while (dials_.size() < tries + 1) loop_->RunOnce(kNever, 0);
    EXPECT_GE(dials_.back() - broken, longest / 2);
    EXPECT_LE(dials_.back() - broken, longest);
    longest *= 2;
  }
}

TEST_F(ConnectorTest, FailureIsToldOnceForEachReason) {
  const auto connector = Connecting(1);
  connector->Redial();
  (void)Waits(3);
  reason_ = "no such directory";
  (void)Waits(3);
  EXPECT_EQ(failures_,
            (std::vector<std::string>{"nobody listens", "no such directory"}));
}

TEST_F(ConnectorTest, WhoIsToldOfAFailureMayAskForAnotherTry) {
  const auto connector = Connecting(1);
  on_failure_ = [&] { connector->Redial(); };
  connector->Redial();
  EXPECT_EQ(dials_.size(), 1u) << "not from within";
  EXPECT_LE(Waits(1)[0], 1) << "but at once";
  EXPECT_GE(Waits(1)[0], kMinNs / 2) << "and then as ever";
  EXPECT_EQ(failures_, std::vector<std::string>{"nobody listens"});
}

// The address is that of several nodes, and each Hello for one of them may be
// read by another one.
TEST_F(ConnectorTest, AddressWithSeveralNodesIsAskedForWhicheverAnswers) {
  const auto connector = Connecting(1);
  answers_ = true;
  answer_ = RejectOf("one");
  connector->Redial();
  while (failures_.empty()) loop_->RunOnce(kNever, 0);
  EXPECT_EQ(connector->peer(), "one");
  answer_ = RejectOf("two");
  while (connector->peer() == "one") loop_->RunOnce(kNever, 0);
  EXPECT_EQ(connector->peer(), "");
  EXPECT_EQ(failures_.size(), 1u);
  answer_ = HelloOf("two");
  while (connections_.empty()) loop_->RunOnce(kNever, 0);
  EXPECT_EQ(connector->peer(), "two");
}

// The next Hello, which repeats the name, would have no room for it.
TEST_F(ConnectorTest, NameThatIsTooLongForANodeIsNotRepeatedToThePeer) {
  const auto connector = Connecting(1);
  answers_ = true;
  answer_ = RejectOf(std::string(65'500, 'n'));
  connector->Redial();
  while (failures_.empty()) loop_->RunOnce(kNever, 0);
  EXPECT_TRUE(connector->peer().empty());
  answer_ = HelloOf("two");
  (void)Waits(1);
  while (connector->in_handshake()) loop_->RunOnce(kNever, 0);
  EXPECT_EQ(connections_.size(), 1u);
  EXPECT_EQ(connector->peer(), "two");
}

TEST_F(ConnectorTest, AsksAgainLaterOrNotAtAll) {
  const auto connector = Connecting(1);
  answers_ = true;
  say_ = Connector::Say::kLater;
  connector->Redial();
  EXPECT_TRUE(dials_.empty());
  say_ = Connector::Say::kHello;
  while (connections_.empty()) loop_->RunOnce(kNever, 0);
  EXPECT_GE(dials_[0], 1000 + kMinNs / 2);
  say_ = Connector::Say::kNothing;
  clock_.now += kMaxNs;
  connector->Redial();
  clock_.now += kMaxNs;
  while (loop_->RunOnce(0, 0) == EventLoop::Ran::kSomething) continue;
  EXPECT_EQ(dials_.size(), 1u);
}

TEST_F(ConnectorTest, TimerTakesNoHandshakeAway) {
  const auto connector = Connecting(1);
  connector->Redial();
  answers_ = true;
  connector->Redial();
  EXPECT_TRUE(connector->in_handshake());
  EXPECT_EQ(dials_.size(), 2u);
  // The try after the first failure would be due.
  const TimeNs first = clock_.now;
  while (clock_.now < first + kMaxNs && connections_.empty()) {
    clock_.now += kMinNs;
    loop_->RunOnce(0, 0);
  }
  EXPECT_EQ(connections_.size(), 1u);
  EXPECT_EQ(dials_.size(), 2u);
}

}  // namespace
}  // namespace mycelium
