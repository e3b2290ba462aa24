#include "mycelium/bus/subscriber.h"

#include <thread>

#include "gtest/gtest.h"
#include "mycelium/bus/bus_fixture.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;

using SubscriberTest = BusFixture;

TEST_F(SubscriberTest, UnsubscribeDropsWhatIsQueuedAndKeepsTheLastMessage) {
  auto pull = bus_->Subscriber<Note>();
  auto publisher = bus_->Publisher<Note>();
  for (int i = 1; i <= 3; ++i) {
    Note note;
    note.set_id(static_cast<uint64_t>(i));
    ASSERT_TRUE(publisher->Publish(note).ok());
  }
  const absl::StatusOr<const Note*> first = pull->Receive(kLong);
  ASSERT_TRUE(first.ok()) << first.status();
  pull->Unsubscribe();
  pull->Unsubscribe();
  EXPECT_EQ((*first)->id(), 1u);
  EXPECT_TRUE(pull->closed());
  EXPECT_EQ(publisher->subscriber_count(), 0u);
  EXPECT_EQ(pull->Receive(kLong).status().code(),
            absl::StatusCode::kFailedPrecondition);
  pull->Finish();
  ASSERT_TRUE(bus_->Flush(kLong).ok());
  const Ledger sum = SettledLedger();
  EXPECT_EQ(sum.accepted, 3u);
  EXPECT_EQ(sum.delivered, 1u);
  EXPECT_EQ(sum.dropped_for(DropReason::kSubscriberGone), 2u);
}

TEST_F(SubscriberTest, UnsubscribeEndsAReceiveOfAnotherThread) {
  auto pull = bus_->Subscriber<Note>();
  absl::Status ended;
  std::thread receiver([&] { ended = pull->Receive(kLong).status(); });
  pull->Unsubscribe();
  receiver.join();
  EXPECT_EQ(ended.code(), absl::StatusCode::kFailedPrecondition) << ended;
  EXPECT_EQ(SettledLedger().accepted, 0u);
}

}  // namespace
}  // namespace mycelium
