// Two message types on one topic.

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/protobuf/descriptor.pb.h"
#include "mycelium/bus/unix_endpoint.h"
#include "mycelium/message/described_type.h"
#include "mycelium/routing/schema_mismatch.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/support/notification.h"

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

TEST_P(SchemaTest, RefusalIsReceivedOnceAndEndsWithItsPublisher) {
  Open();
  auto pull = beta_->Subscriber<Note>();
  const std::string topic = "mycelium.test.Note";
  PublisherOptions to_notes;
  to_notes.topic = topic;
  {
    auto wrong = alpha_->Publisher<Reply>(to_notes);
    ASSERT_THAT(wrong->WaitForSubscribers(1, kLong),
                HasCode(absl::StatusCode::kFailedPrecondition));
    EXPECT_THAT(pull->Receive(kLong).status(),
                HasCode(absl::StatusCode::kFailedPrecondition));
    EXPECT_THAT(pull->Receive(absl::Milliseconds(1)).status(),
                HasCode(absl::StatusCode::kDeadlineExceeded));
    EXPECT_THAT(pull->status(), HasCode(absl::StatusCode::kFailedPrecondition));
  }
  auto right = alpha_->Publisher<Note>(to_notes);
  ASSERT_THAT(right->WaitForSubscribers(1, kLong), IsOk());
  ASSERT_THAT(right->Publish(MakeNote(1)), IsOk());
  EXPECT_THAT(ReceiveAll(*pull, 1), ElementsAre(1));
  EXPECT_THAT(pull->status(), IsOk());
  auto wrong_again = alpha_->Publisher<Reply>(to_notes);
  EXPECT_THAT(pull->Receive(kLong).status(),
              HasCode(absl::StatusCode::kFailedPrecondition));
}

TEST_P(SchemaTest, RefusalEndsWithTheSubscriptionThatWasRefused) {
  Open();
  auto notes = alpha_->Publisher<Note>();
  SubscriberOptions to_notes;
  to_notes.topic = "mycelium.test.Note";
  {
    auto wrong = beta_->Subscriber<Reply>(to_notes);
    ASSERT_THAT(notes->WaitForSubscribers(1, kLong),
                HasCode(absl::StatusCode::kFailedPrecondition));
  }
  auto pull = beta_->Subscriber<Note>();
  // Waits until the publisher's node has heard of both.
  absl::Status found;
  const absl::Time end = absl::Now() + kLong;
  do {
    found = notes->WaitForSubscribers(1, kLong);
  } while (!found.ok() && absl::Now() < end);
  ASSERT_THAT(found, IsOk());
  ASSERT_THAT(notes->Publish(MakeNote(1)), IsOk());
  EXPECT_THAT(ReceiveAll(*pull, 1), ElementsAre(1));
  EXPECT_TRUE(notes->refusals().empty());
}

TEST_P(SchemaTest, ServicesWithOtherSchemaDigestsRefuseEachOtherOnly) {
  WriteTopology();
  BusOptions options;
  options.log = [](LogLevel, absl::string_view) {};
  options.schema_digest = Digest::Of("alpha's");
  alpha_ = OpenService("alpha", options);
  options.schema_digest = Digest::Of("beta's");
  beta_ = OpenService("beta", options);
  auto from_alpha = alpha_->Publisher<Note>();
  auto at_beta = beta_->Subscriber<Note>();
  const absl::Status at_publisher = from_alpha->WaitForSubscribers(1, kLong);
  const absl::Status at_subscriber = at_beta->Receive(kLong).status();
  const auto ours = SchemaMismatchOf(at_publisher);
  const auto theirs = SchemaMismatchOf(at_subscriber);
  ASSERT_TRUE(ours.has_value()) << at_publisher;
  ASSERT_TRUE(theirs.has_value()) << at_subscriber;
  EXPECT_EQ(ours->local_service(), "alpha");
  EXPECT_EQ(ours->remote_service(), "beta");
  EXPECT_EQ(ours->local_digest(), Digest::Of("alpha's").bytes());
  EXPECT_EQ(ours->local_digest(), theirs->remote_digest());
  EXPECT_EQ(ours->remote_digest(), theirs->local_digest());
  EXPECT_EQ(theirs->remote_service(), "alpha");
  // A service hears itself.
  auto own = alpha_->Subscriber<Note>();
  ASSERT_THAT(from_alpha->Publish(MakeNote(1)), IsOk());
  EXPECT_THAT(ReceiveAll(*own, 1), ElementsAre(1));
}

// market.Quote, as a service has it whose field `price` is of that type.
MessageType QuoteWith(google::protobuf::FieldDescriptorProto::Type price) {
  google::protobuf::FileDescriptorSet set;
  google::protobuf::FileDescriptorProto& file = *set.add_file();
  file.set_name("quote.proto");
  file.set_package("market");
  file.set_syntax("proto3");
  google::protobuf::DescriptorProto& message = *file.add_message_type();
  message.set_name("Quote");
  google::protobuf::FieldDescriptorProto& field = *message.add_field();
  field.set_name("price");
  field.set_number(4);
  field.set_type(price);
  field.set_label(google::protobuf::FieldDescriptorProto::LABEL_OPTIONAL);
  return *DescribedMessageType("market.Quote", set.SerializeAsString());
}

// This holds whether or not compatible versions are accepted.
TEST_P(SchemaTest, BothSidesNameTheFirstFieldThatDiffers) {
  using Field = google::protobuf::FieldDescriptorProto;
  Open(GetParam() == "inproc" ? "" : "schema = \"compatible\"");
  auto quotes = beta_->RawSubscriber(QuoteWith(Field::TYPE_INT64));
  auto publisher = alpha_->RawPublisher(QuoteWith(Field::TYPE_DOUBLE));
  const absl::Status at_publisher = publisher->WaitForSubscribers(1, kLong);
  const absl::Status at_subscriber = quotes->Receive(kLong).status();
  const auto ours = SchemaMismatchOf(at_publisher);
  const auto theirs = SchemaMismatchOf(at_subscriber);
  ASSERT_TRUE(ours.has_value()) << at_publisher;
  ASSERT_TRUE(theirs.has_value()) << at_subscriber;
  EXPECT_EQ(ours->difference(), "market.Quote.price (4): double -> int64");
  EXPECT_EQ(theirs->difference(), "market.Quote.price (4): int64 -> double");
  for (const absl::Status& status : {at_publisher, at_subscriber}) {
    EXPECT_NE(status.message().find("market.Quote.price (4): "),
              absl::string_view::npos)
        << status;
  }
  auto pull = beta_->Subscriber<Note>();
  auto notes = alpha_->Publisher<Note>();
  ASSERT_THAT(notes->WaitForSubscribers(1, kLong), IsOk());
  ASSERT_THAT(notes->Publish(MakeNote(1)), IsOk());
  EXPECT_THAT(ReceiveAll(*pull, 1), ElementsAre(1));
}

TEST_P(SchemaTest, BytesThatAreNotOfTheirTypeAreCountedAsUndecodable) {
  Open();
  Inbox got;
  auto pull = beta_->Subscriber<Note>(Delivered({}, "pull"));
  auto handle = beta_->Subscribe<Note>(
      got.Handler(), Delivered(DeliveryMode::kInline, "inline"));
  const MessageType& type = MessageTypeOf<Note>();
  auto raw = alpha_->RawPublisher(RawMessageType(type.name, type.digest));
  ASSERT_THAT(raw->WaitForSubscribers(2, kLong), IsOk());
  const std::string good = MakeNote(2).SerializeAsString();
  for (const absl::string_view bytes :
       {absl::string_view("\xff\xff"), absl::string_view(good)}) {
    ASSERT_THAT(
        raw->Publish(absl::MakeConstSpan(
            reinterpret_cast<const std::byte*>(bytes.data()), bytes.size())),
        IsOk());
  }
  EXPECT_THAT(pull->Receive(kLong).status(),
              HasCode(absl::StatusCode::kDataLoss));
  EXPECT_THAT(ReceiveAll(*pull, 1), ElementsAre(2));
  ASSERT_TRUE(got.WaitFor(1));
  EXPECT_THAT(got.ids(), ElementsAre(2));
  Settle();
  const Ledger total = Total();
  EXPECT_EQ(total.accepted, 4u);
  EXPECT_EQ(total.delivered, 2u);
  EXPECT_EQ(total.dropped_for(DropReason::kUndecodable), 2u);
}

MYCELIUM_ALL_TRANSPORTS(SchemaTest);

// Inside a process messages are passed as they are.
TEST(SchemaInOneProcessTest, OneProcessHasOneVersion) {
  const std::string form = "mycelium.schema 1\nroot Q\nmessage Q\n";
  const auto version = [&](const std::string& fields) {
    MessageType type = RawMessageType("Q", Digest::Of(form + fields));
    type.canonical_text = form + fields;
    return type;
  };
  const std::string x = "  1 x optional int32 presence=implicit\n";
  const std::string y = "  2 y optional int32 presence=implicit\n";
  BusOptions options;
  options.schema = SchemaPolicy::kCompatible;
  options.log = [](LogLevel, absl::string_view) {};
  const auto bus = *MessageBus::Create(options);
  auto subscriber = bus->RawSubscriber(version(x + y));
  auto publisher = bus->RawPublisher(version(x));
  const auto mismatch = SchemaMismatchOf(subscriber->status());
  ASSERT_TRUE(mismatch.has_value()) << subscriber->status();
  EXPECT_EQ(mismatch->difference(),
            "Q.y (2): missing on the other side; compatible, but a process has "
            "one version of a type");
  EXPECT_THAT(publisher->Publish({}),
              HasCode(absl::StatusCode::kFailedPrecondition));
}

// A publisher whose only subscription was refused, and the peer that had the
// subscription.
TEST(SchemaAcrossProcessesTest, RefusalsEndWhenTheirPeerLeaves) {
  ShortTempDir dir;
  const std::string path = dir.file("bus.sock");
  Notification gone;
  BusOptions options;
  options.node = "stays";
  options.log = [](LogLevel, absl::string_view) {};
  options.on_connection = [&](const ConnectionEvent& event) {
    if (event.state == ConnectionEvent::State::kGone) gone.Notify();
  };
  auto stays = *MessageBus::Create(options);
  options.node = "leaves";
  options.on_connection = nullptr;
  auto leaves = *MessageBus::Create(options);
  auto endpoint = BindUnixEndpoint(path, *stays);
  SubscriberOptions shared;
  shared.topic = "shared";
  PublisherOptions to_shared;
  to_shared.topic = "shared";
  auto publisher = stays->Publisher<Note>(to_shared);
  auto subscriber = stays->Subscriber<Note>(Delivered({}));
  ASSERT_THAT(DialUnixEndpoint(path, *leaves), IsOk());
  auto refused = leaves->Subscriber<Reply>(shared);
  PublisherOptions to_notes;
  to_notes.topic = "mycelium.test.Note";
  auto refusing = leaves->Publisher<Reply>(to_notes);
  ASSERT_THAT(publisher->WaitForSubscribers(1, kLong),
              HasCode(absl::StatusCode::kFailedPrecondition));
  ASSERT_THAT(subscriber->Receive(kLong).status(),
              HasCode(absl::StatusCode::kFailedPrecondition));
  ASSERT_THAT(leaves->Shutdown(kLong), IsOk());
  gone.WaitForNotification();
  EXPECT_TRUE(publisher->refusals().empty());
  EXPECT_THAT(publisher->Publish(MakeNote(1)), IsOk()) << "nobody is there";
  EXPECT_THAT(subscriber->status(), IsOk());
  for (const FlowReport& flow : stays->FlowReports()) {
    EXPECT_TRUE(flow.ledger.Balances());
  }
}

// Each of these publishers refuses each of these subscriptions, and both sides
// give the reason with texts of 200 KiB. Once for each pair would be more than
// connections bear.
TEST(SchemaAcrossProcessesTest, ManyRefusalsOfLargeTypesBreakNoConnection) {
  constexpr int kOfEach = 40;
  const auto type = [](const std::string& kind) {
    std::string text = "mycelium.schema 1\nroot Q\nmessage Q\n";
    for (int number = 1; text.size() < 200 << 10; ++number) {
      absl::StrAppend(&text, "  ", number, " f", number, " optional ", kind,
                      " presence=implicit\n");
    }
    MessageType made = RawMessageType("Q", Digest::Of(text));
    made.canonical_text = text;
    return made;
  };
  ShortTempDir dir;
  const std::string path = dir.file("bus.sock");
  std::atomic<int> broken{0};
  BusOptions options;
  options.log = [](LogLevel, absl::string_view) {};
  options.on_connection = [&](const ConnectionEvent& event) {
    if (event.state == ConnectionEvent::State::kDisconnected) ++broken;
  };
  options.node = "says";
  auto says = *MessageBus::Create(options);
  options.node = "hears";
  auto hears = *MessageBus::Create(options);
  auto endpoint = BindUnixEndpoint(path, *says);
  std::vector<RawPublisher> publishers;
  std::vector<RawSubscriber> subscribers;
  for (int i = 0; i < kOfEach; ++i) {
    publishers.push_back(*says->RawPublisher(type("int32")));
    subscribers.push_back(*hears->RawSubscriber(type("string")));
  }
  auto notes = says->Publisher<Note>();
  auto pull = hears->Subscriber<Note>();
  ASSERT_THAT(DialUnixEndpoint(path, *hears), IsOk());
  for (RawPublisher& publisher : publishers) {
    const absl::Status told = publisher.WaitForSubscribers(1, kLong);
    const auto mismatch = SchemaMismatchOf(told);
    ASSERT_TRUE(mismatch.has_value()) << told;
    EXPECT_EQ(mismatch->difference(), "Q.f1 (1): int32 -> string");
  }
  for (RawSubscriber& subscriber : subscribers) {
    const absl::Status told = subscriber.Receive(kLong).status();
    const auto mismatch = SchemaMismatchOf(told);
    ASSERT_TRUE(mismatch.has_value()) << told;
    EXPECT_EQ(mismatch->difference(), "Q.f1 (1): string -> int32");
  }
  ASSERT_THAT(notes->WaitForSubscribers(1, kLong), IsOk());
  ASSERT_THAT(notes->Publish(MakeNote(1)), IsOk());
  EXPECT_THAT(ReceiveAll(*pull, 1), ElementsAre(1));
  ASSERT_THAT(says->Flush(kLong), IsOk());
  EXPECT_EQ(broken, 0);
  Ledger total;
  for (const auto& bus : {says.get(), hears.get()}) {
    for (const FlowReport& flow : bus->FlowReports()) total += flow.ledger;
  }
  EXPECT_EQ(total.accepted, 1u);
  EXPECT_EQ(total.in_flight, 0u);
  EXPECT_TRUE(total.Balances());
}

}  // namespace
}  // namespace mycelium::test
