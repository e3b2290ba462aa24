// Threads that sleep on a word wake early, as the kernel may do: no thread
// takes that for the event that it waits for, and no thread misses the event.

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "tests/support/faulty_sys.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr uint64_t kNotes = 2000;
constexpr uint64_t kFewNotes = 100;
constexpr uint64_t kWaitsMax = 200;
constexpr size_t kLaneBytes = 64 << 10;  // Some 15 notes.

// One thread publishes what another one handles, and has to wait for it.
void RunOnce(FaultySys& sys, uint64_t notes) {
  SystemClock clock(sys);
  SystemWaiter waiter(sys, clock);
  Environment environment{sys, clock, waiter};
  BusOptions options;
  options.environment = &environment;
  options.wait = WaitMode::kBlock;
  options.settings.lane_bytes = kLaneBytes;
  options.settings.publish_timeout = kLong;
  options.limits.frame_bytes_max = kLaneBytes / 4;

  auto bus = MessageBus::Create(options);
  ASSERT_TRUE(bus.ok()) << bus.status();
  std::atomic<uint64_t> handled{0};
  std::atomic<uint64_t> out_of_order{0};
  SubscriberOptions queued;
  queued.delivery = DeliveryMode::kQueued;
  auto handle = (*bus)->Subscribe<Note>(
      [&](const Note& note, const MessageInfo&) {
        if (note.id() != ++handled) ++out_of_order;
      },
      queued);
  ASSERT_TRUE(handle.ok()) << handle.status();
  auto publisher = (*bus)->Publisher<Note>();
  ASSERT_TRUE(publisher.ok()) << publisher.status();
  Note note;
  note.set_blob(std::string(4000, 'b'));
  for (uint64_t id = 1; id <= notes; ++id) {
    note.set_id(id);
    const absl::Status sent = publisher->Publish(note);
    ASSERT_TRUE(sent.ok()) << sent;
  }
  EXPECT_TRUE((*bus)->Flush(kLong).ok());
  EXPECT_EQ(handled, notes);
  EXPECT_EQ(out_of_order, 0u);
  for (const FlowReport& flow : (*bus)->FlowReports()) {
    EXPECT_TRUE(flow.ledger.Balances());
    EXPECT_EQ(flow.ledger.delivered, notes);
  }
  EXPECT_TRUE((*bus)->Shutdown(kLong).ok());
}

TEST(FutexFaultsTest, WaitsThatEndEarlyLoseNothing) {
  FaultySys sys;
  std::vector<int64_t> early;
  for (int i = 0; i < 20; ++i) early.insert(early.end(), {-EINTR, -EAGAIN});
  sys.Fail("futex_wait", early);
  RunOnce(sys, kNotes);
  EXPECT_LT(sys.Left("futex_wait"), early.size()) << "nobody slept";
  EXPECT_GT(sys.counts()["futex_wake"], 0u);
}

// The number of sleeps differs from run to run: each run wakes its own n-th
// sleep, as long as any run gets that far.
TEST(FutexFaultsTest, NthWaitThatEndsEarlyLosesNothing) {
  for (const int error : {EINTR, EAGAIN}) {
    uint64_t nth = 0;
    bool fired = true;
    while (fired && !HasFailure() && nth < kWaitsMax) {
      FaultySys sys;
      sys.FailNth("futex_wait", ++nth, -error);
      RunOnce(sys, kFewNotes);
      fired = sys.fired();
    }
    EXPECT_GT(nth, 1u) << "nobody slept";
  }
}

}  // namespace
}  // namespace mycelium::test
