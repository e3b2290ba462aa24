// Threads that sleep on a word wake early, as the kernel may have it: nobody
// takes that for what he waits for, and nobody misses it.

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
constexpr size_t kLaneBytes = 64 << 10;  // Some 15 notes.

TEST(FutexFaultsTest, WaitsThatEndEarlyLoseNothing) {
  FaultySys sys;
  SystemClock clock(sys);
  SystemWaiter waiter(sys, clock);
  Environment environment{sys, clock, waiter};
  BusOptions options;
  options.environment = &environment;
  options.wait = WaitMode::kBlock;
  options.settings.lane_bytes = kLaneBytes;
  options.settings.publish_timeout = kLong;
  options.limits.frame_bytes_max = kLaneBytes / 4;
  std::vector<int64_t> early;
  for (int i = 0; i < 20; ++i) early.insert(early.end(), {-EINTR, -EAGAIN});
  sys.Fail("futex_wait", early);

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
  for (uint64_t id = 1; id <= kNotes; ++id) {
    note.set_id(id);
    const absl::Status sent = publisher->Publish(note);
    ASSERT_TRUE(sent.ok()) << sent;
  }
  EXPECT_TRUE((*bus)->Flush(kLong).ok());
  EXPECT_EQ(handled, kNotes);
  EXPECT_EQ(out_of_order, 0u);
  EXPECT_LT(sys.Left("futex_wait"), early.size()) << "nobody slept";
  EXPECT_GT(sys.counts()["futex_wake"], 0u);
  for (const FlowReport& flow : (*bus)->FlowReports()) {
    EXPECT_TRUE(flow.ledger.Balances());
    EXPECT_EQ(flow.ledger.delivered, kNotes);
  }
  EXPECT_TRUE((*bus)->Shutdown(kLong).ok());
}

}  // namespace
}  // namespace mycelium::test
