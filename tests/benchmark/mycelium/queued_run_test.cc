#include "tests/benchmark/mycelium/queued_run.h"

#include "gtest/gtest.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/mycelium/traffic.h"

namespace mycelium::bench {
namespace {

absl::Status Failure() { return absl::InternalError("no second message"); }

// Bytes, of which the second message is not published: in a ping-pong, a flood
// and an open loop it is the first role that fails.
class FailingTraffic final : public RawTraffic {
 public:
  using RawTraffic::RawTraffic;

  absl::Status Publish(Publisher& publisher, int64_t number) {
    if (++published_ == 2) return Failure();
    return RawTraffic::Publish(publisher, number);
  }

 private:
  int published_ = 0;
};

// Bytes, of which the second one is not received.
class DeafTraffic final : public RawTraffic {
 public:
  using RawTraffic::RawTraffic;

  static absl::StatusOr<int64_t> Receive(Subscriber& subscriber,
                                         absl::Duration timeout) {
    const absl::StatusOr<int64_t> number =
        RawTraffic::Receive(subscriber, timeout);
    if (number.ok() && *number == 1) return Failure();
    return number;
  }
};

class QueuedRunTest : public testing::TestWithParam<Mode> {
 protected:
  QueuedRunTest() {
    what_.transport = "inproc";
    what_.mode = GetParam();
    what_.wait = Wait::kBlock;
    what_.messages = 100'000;
    what_.warm_up = 100;
    what_.rate_per_s = 1e6;
    what_.ring_bytes = 4096;
    what_.deadline_ms = 30'000;
  }

  // The status of a run in which no wait of the other role runs out.
  template <typename Traffic>
  absl::Status StatusOf(QueuedSystem::Pull pull) {
    const int64_t begun_ns = NowNs();
    const absl::Status status =
        queued::RunWith<Traffic>({what_, pull, /*log_memory=*/false}, CpuPair{})
            .status();
    EXPECT_LT(NowNs() - begun_ns,
              absl::ToInt64Nanoseconds(queued::kReceiveTimeout));
    return status;
  }

  Case what_;
};

TEST_P(QueuedRunTest, RoleThatCannotPublishEndsTheRun) {
  EXPECT_EQ(StatusOf<FailingTraffic>(QueuedSystem::Pull::kReceive), Failure());
  EXPECT_EQ(StatusOf<FailingTraffic>(QueuedSystem::Pull::kTryReceive),
            Failure());
}

TEST_P(QueuedRunTest, RoleThatCannotReceiveEndsTheRun) {
  if (GetParam() == Mode::kOpen) return;  // Its numbers are times.
  EXPECT_EQ(StatusOf<DeafTraffic>(QueuedSystem::Pull::kReceive), Failure());
}

INSTANTIATE_TEST_SUITE_P(Modes, QueuedRunTest,
                         testing::Values(Mode::kLatency, Mode::kFlood,
                                         Mode::kOpen),
                         [](const auto& info) {
                           return std::string(Name(info.param));
                         });

}  // namespace
}  // namespace mycelium::bench
