// Two types on one topic.

#include <string>

#include "mycelium/routing/schema_mismatch.h"
#include "tests/conformance/conformance_fixture.h"

namespace mycelium::test {
namespace {

using ::testing::ElementsAre;

class SchemaTest : public ConformanceTest {};

TEST_P(SchemaTest, MismatchIsTypedOnBothSidesAndOtherTopicsGoOn) {
  Open();
  SubscriberOptions shared;
  shared.topic = "shared";
  PublisherOptions to_shared;
  to_shared.topic = "shared";
  auto replies = beta_->Subscriber<Reply>(shared);
  ASSERT_TRUE(replies.ok()) << replies.status();
  auto notes = alpha_->Publisher<Note>(to_shared);
  ASSERT_TRUE(notes.ok()) << notes.status();

  const absl::Status told = notes->WaitForSubscribers(1, kLong);
  const auto at_publisher = SchemaMismatchOf(told);
  ASSERT_TRUE(at_publisher.has_value()) << told;
  const absl::Status received = replies->Receive(kLong).status();
  const auto at_subscriber = SchemaMismatchOf(received);
  ASSERT_TRUE(at_subscriber.has_value()) << received;
  for (const auto& mismatch : {*at_publisher, *at_subscriber}) {
    EXPECT_EQ(mismatch.topic(), "shared");
    EXPECT_FALSE(mismatch.difference().empty());
    EXPECT_NE(mismatch.local_digest(), mismatch.remote_digest());
  }
  EXPECT_EQ(at_publisher->local_digest(), at_subscriber->remote_digest());
  EXPECT_EQ(at_publisher->remote_digest(), at_subscriber->local_digest());
  EXPECT_THAT(replies->status(),
              HasCode(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(notes->Publish(MakeNote(1)),
              HasCode(absl::StatusCode::kFailedPrecondition));

  auto pull = beta_->Subscriber<Note>();
  auto others = alpha_->Publisher<Note>();
  ASSERT_THAT(others->WaitForSubscribers(1, kLong), IsOk());
  ASSERT_THAT(others->Publish(MakeNote(2)), IsOk());
  EXPECT_THAT(ReceiveAll(*pull, 1), ElementsAre(2));
}

MYCELIUM_ALL_TRANSPORTS(SchemaTest);

}  // namespace
}  // namespace mycelium::test
