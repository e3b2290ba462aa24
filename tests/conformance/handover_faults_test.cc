// System calls that a process makes because of another process, or when that
// one dies and its successor comes: each such call fails once, in each way that
// its kind can. tests/faults tries the calls that a process makes by itself.

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "tests/conformance/process_fixture.h"
#include "tests/support/faulty_sys.h"
#include "tests/support/notification.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr uint64_t kFew = 5;
// If more than so many calls of a kind are made, something is wrong.
constexpr uint64_t kCallsMax = 50;

struct Faults {
  std::string call;
  std::vector<int> errnos;
  // Whether the publisher's process makes the call at all over a Unix socket.
  bool over_unix;
};

class HandoverFaultsTest : public ProcessTest,
                           public ::testing::WithParamInterface<Faults> {
 protected:
  HandoverFaultsTest() { WriteTopology("a", "b", /*retain=*/"20s", "5s"); }

  // Publishes to a process that is killed with some messages unhandled, and to
  // the next one.
  void RunOnce(FaultySys& sys) {
    Environment environment{sys, Environment::Real().clock,
                            Environment::Real().waiter};
    Notification lost;
    BusOptions options;
    options.environment = &environment;
    options.log = [](LogLevel, absl::string_view) {};
    options.on_connection = [&](const ConnectionEvent& event) {
      if (event.state == ConnectionEvent::State::kDisconnected) lost.Notify();
    };
    auto bus =
        MessageBus::FromTopology(dir_.file("topology.toml"), "writer", options);
    ASSERT_TRUE(bus.ok()) << bus.status();
    auto publisher = (*bus)->Publisher<Note>();
    ASSERT_TRUE(publisher.ok()) << publisher.status();
    std::unique_ptr<PeerProcess> first = Reader();
    ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());

    Publish(*publisher, 1);
    first->Ask("await 1", "reached 1");
    first->Tell("hold");
    (void)CountedBy(*first);  // It obeys its lines in order.
    Publish(*publisher, kFew);
    first->Await("held");
    first->Kill();
    EXPECT_TRUE(lost.WaitForNotificationWithTimeout(kLong));
    std::unique_ptr<PeerProcess> second = Reader();
    Publish(*publisher, kFew);
    const absl::Status flushed = (*bus)->Flush(kLong);
    EXPECT_TRUE(flushed.ok()) << flushed;

    const ReceivedIds& before = first->counts().received[1];
    const ReceivedIds& after = second->counts().received[1];
    EXPECT_EQ(before.last, 1u);
    EXPECT_LE(after.first, 2u);
    EXPECT_EQ(after.last, 1 + 2 * kFew);
    for (const ReceivedIds* const ids : {&before, &after}) {
      EXPECT_EQ(ids->gaps + ids->duplicates + ids->torn, 0u);
    }
    Ledger sum;
    for (const FlowReport& flow : (*bus)->FlowReports()) sum += flow.ledger;
    EXPECT_EQ(sum.accepted, 1 + 2 * kFew);
    EXPECT_EQ(sum.in_flight, 0u);
    EXPECT_EQ(sum.dropped_total(), 0u);
    // Where memory cannot be had, the socket carries the messages.
    EXPECT_EQ(CountedBy(*second).delivered, after.count);
    EXPECT_TRUE((*bus)->Shutdown(kLong).ok());
  }

  void Publish(mycelium::Publisher<Note>& publisher, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
      Note note;
      note.set_id(++published_);
      note.set_text("1");
      const absl::Status sent = publisher.Publish(note);
      EXPECT_TRUE(sent.ok()) << sent;
    }
  }

  uint64_t published_ = 0;
};

INSTANTIATE_TEST_SUITE_P(
    EachKind, HandoverFaultsTest,
    ::testing::Values(
        Faults{"pidfd_open", {ENOSYS, EMFILE, ENFILE, ENOMEM, ESRCH}, true},
        Faults{"map_over", {ENOMEM, EAGAIN, EACCES}, false},
        Faults{"memfd_create", {EMFILE, ENFILE, ENOMEM}, true},
        Faults{"reserve", {EINTR, ENOSPC, ENOMEM}, true}),
    [](const auto& info) { return info.param.call; });

TEST_P(HandoverFaultsTest, NthCallFailsAndTheNextProcessGetsWhatWasKept) {
  const Faults& faults = GetParam();
  if (TransportUnderTest() == "unix" && !faults.over_unix) {
    FaultySys sys;
    RunOnce(sys);
    EXPECT_EQ(sys.counts()[faults.call], 0u);
    return;
  }
  uint64_t runs = 0;
  for (const int error : faults.errnos) {
    for (uint64_t nth = 1; nth <= kCallsMax; ++nth) {
      SCOPED_TRACE(absl::StrCat(faults.call, " number ", nth, ": ",
                                std::strerror(error)));
      FaultySys sys;
      sys.FailNth(faults.call, nth, -error);
      published_ = 0;
      RunOnce(sys);
      if (HasFailure()) return;
      if (!sys.fired()) {
        EXPECT_GT(nth, 1u) << "no such call is made";
        break;
      }
      ASSERT_LT(nth, kCallsMax);
      ++runs;
    }
  }
  std::cout << faults.call << ": " << runs << " runs with one fault each\n";
}

}  // namespace
}  // namespace mycelium::test
