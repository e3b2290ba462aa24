#include "mycelium/bus/endpoint_handle.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mycelium/bus/bus_fixture.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/support/notification.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::absl::StatusCode;
using ::mycelium::test::Note;

class EndpointHandleTest : public BusFixture {
 protected:
  EndpointHandle Bind(int number) {
    auto bound = BindUnixEndpoint(dir_.file(absl::StrCat(number)), *bus_);
    EXPECT_TRUE(bound.ok()) << bound.status();
    return *std::move(bound);
  }
  bool IsFree(int number) {
    auto other = *MessageBus::Create();
    return BindUnixEndpoint(dir_.file(absl::StrCat(number)), *other).ok();
  }
  // A handler keeps the thread of the bus's node until `leave_`.
  void KeepTheThread() {
    link_.emplace(Bind(-1));
    ASSERT_TRUE(DialUnixEndpoint(dir_.file("-1"), *dialling_).ok());
    handle_.emplace(
        *bus_->Subscribe<Note>([this](const Note&, const MessageInfo&) {
          busy_.Notify();
          leave_.WaitForNotification();
        }));
    ASSERT_TRUE(notes_->WaitForSubscribers(1, kLong).ok());
    ASSERT_TRUE(notes_->Publish(Note()).ok());
    busy_.WaitForNotification();
  }
  void LetGo() {
    leave_.Notify();
    ASSERT_TRUE(dialling_->Flush(kLong).ok());
    ASSERT_EQ(dialling_->FlowReports().size(), 1u);
    const Ledger ledger = dialling_->FlowReports()[0].ledger;
    EXPECT_EQ(ledger.accepted, 1u);
    EXPECT_EQ(ledger.dropped_total() + ledger.in_flight, 0u);
    EXPECT_EQ(bus_->FlowReports()[0].ledger.delivered, 1u);
  }

  test::ShortTempDir dir_;
  test::Notification busy_, leave_;
  std::shared_ptr<MessageBus> dialling_ = *MessageBus::Create();
  std::optional<Publisher<Note>> notes_ = *dialling_->Publisher<Note>();
  std::optional<EndpointHandle> link_;
  std::optional<SubscriptionHandle> handle_;
};

TEST_F(EndpointHandleTest, ListensUntilItIsStoppedOrDestroyed) {
  EndpointHandle stopped = Bind(1);
  std::optional<EndpointHandle> destroyed(Bind(2));
  EXPECT_FALSE(IsFree(1));
  EXPECT_FALSE(IsFree(2));
  EXPECT_EQ(stopped.Stop(), absl::OkStatus());
  destroyed.reset();
  EXPECT_TRUE(IsFree(1));
  EXPECT_TRUE(IsFree(2));
  EXPECT_EQ(stopped.Stop(), absl::OkStatus());
  EndpointHandle moved = std::move(stopped);
  EXPECT_EQ(stopped.Stop(), absl::OkStatus());
}

TEST_F(EndpointHandleTest, StopSaysEachTimeThatItStillListens) {
  EndpointHandle endpoint = Bind(1);
  KeepTheThread();
  for (const absl::Duration timeout :
       {absl::Milliseconds(1), absl::ZeroDuration(), -absl::Seconds(1)}) {
    EXPECT_EQ(endpoint.Stop(timeout).code(), StatusCode::kDeadlineExceeded);
    EXPECT_FALSE(IsFree(1));
  }
  LetGo();
  EXPECT_EQ(endpoint.Stop(kLong), absl::OkStatus());
  EXPECT_TRUE(IsFree(1));
}

TEST_F(EndpointHandleTest, AllAreStoppedInTheTimeOfOne) {
  constexpr int kCount = 20;
  std::vector<EndpointHandle> endpoints;
  for (int i = 0; i < kCount; ++i) endpoints.push_back(Bind(i));
  KeepTheThread();
  const absl::Time begin = absl::Now();
  EXPECT_EQ(EndpointHandle::StopAll(endpoints, EndpointHandle::kStopsIn).code(),
            StatusCode::kDeadlineExceeded);
  endpoints.clear();  // They were asked to stop, and are not waited for.
  EXPECT_LT(absl::Now() - begin, kCount / 2 * EndpointHandle::kStopsIn);
  EXPECT_FALSE(IsFree(0));
  LetGo();
  EXPECT_EQ(link_->Stop(kLong), absl::OkStatus());  // It was asked after them.
  for (int i = 0; i < kCount; ++i) EXPECT_TRUE(IsFree(i)) << i;
}

}  // namespace
}  // namespace mycelium
