// When a node says what its types are, and when it does not repeat it: its
// bytes, as a peer of another implementation reads them.

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"
#include "mycelium/message/protobuf_type.h"
#include "mycelium/routing/schema_mismatch.h"
#include "mycelium/schema/digest.h"
#include "tests/conformance/raw_peer.h"
#include "tests/conformance/served_node.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr absl::Duration kLong = absl::Seconds(20);

const std::string& TextOfNote() {
  static const std::string text = MessageTypeOf<Note>().canonical_text;
  return text;
}

BusOptions Taking(SchemaPolicy schema) {
  BusOptions options;
  options.schema = schema;
  return options;
}

v1::Subscribe NextSubscribe(RawPeer& peer) {
  const auto told = peer.ReadUntilControl(v1::Control::kSubscribe);
  EXPECT_TRUE(told.has_value());
  return told.has_value() ? told->control.subscribe() : v1::Subscribe();
}

TEST(WireTextsTest, SubscriptionBringsItsTextOncePerTypeAndConnection) {
  ServedNode served("unix", Taking(SchemaPolicy::kCompatible));
  RawPeer peer = served.Greeted("reads");
  EXPECT_EQ(NextSubscribe(peer).canonical_text(), TextOfNote());
  const v1::Subscribe second = NextSubscribe(peer);
  EXPECT_TRUE(second.takes_versions());
  EXPECT_THAT(second.canonical_text(), IsEmpty());
  // The node forgets what went with subscriptions when the last of them ends.
  const std::string text_of_reply = MessageTypeOf<Reply>().canonical_text;
  auto first_reply = served.bus().Subscriber<Reply>();
  EXPECT_EQ(NextSubscribe(peer).canonical_text(), text_of_reply);
  auto second_reply = served.bus().Subscriber<Reply>();
  EXPECT_THAT(NextSubscribe(peer).canonical_text(), IsEmpty());
  first_reply->Unsubscribe();
  auto third_reply = served.bus().Subscriber<Reply>();
  EXPECT_THAT(NextSubscribe(peer).canonical_text(), IsEmpty());
  second_reply->Unsubscribe();
  third_reply->Unsubscribe();
  const auto fourth_reply = served.bus().Subscriber<Reply>();
  EXPECT_EQ(NextSubscribe(peer).canonical_text(), text_of_reply);
  RawPeer other = served.Greeted("reads-too");
  EXPECT_EQ(NextSubscribe(other).canonical_text(), TextOfNote());
}

// Runs a node that its caller polls, as long as the object lives.
class Polling {
 public:
  explicit Polling(MessageBus& bus)
      : thread_([this, &bus] {
          while (!is_over_) (void)bus.Poll(absl::Milliseconds(1));
        }) {}
  ~Polling() {
    is_over_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> is_over_{false};
  std::thread thread_;
};

TEST(WireTextsTest, SubscriptionBringsItsTextWhereTheOneBeforeHasJustEnded) {
  BusOptions options = Taking(SchemaPolicy::kCompatible);
  options.node = "writes";
  options.poll = PollMode::kCaller;
  auto bus = *MessageBus::Create(options);
  const ShortTempDir dir;
  const auto endpoint = BindUnixEndpoint(dir.file("writes.sock"), *bus);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  std::optional<Polling> polling(*bus);
  RawPeer peer(dir.file("writes.sock"));
  ASSERT_TRUE(peer.SayHello(HelloFrom("reads")).has_hello());
  auto first = bus->Subscriber<Reply>();
  const std::string text_of_reply = MessageTypeOf<Reply>().canonical_text;
  EXPECT_EQ(NextSubscribe(peer).canonical_text(), text_of_reply);
  polling.reset();  // The peer is told of neither before both hold.
  first->Unsubscribe();
  auto second = bus->Subscriber<Reply>();
  polling.emplace(*bus);
  EXPECT_EQ(NextSubscribe(peer).canonical_text(), text_of_reply);
}

TEST(WireTextsTest, ExactNodeSaysNoText) {
  ServedNode served("unix", Taking(SchemaPolicy::kExact));
  RawPeer peer = served.Greeted("reads");
  const v1::Subscribe first = NextSubscribe(peer);
  EXPECT_FALSE(first.takes_versions());
  EXPECT_THAT(first.canonical_text(), IsEmpty());
}

TEST(WireTextsTest, RefusalIsAnsweredUnlessThePeerHasTheText) {
  ServedNode served("unix", Taking(SchemaPolicy::kExact));
  RawPeer peer = served.Greeted("refuses");
  (void)NextSubscribe(peer);  // The subscriptions that it had.
  (void)NextSubscribe(peer);
  auto first = served.bus().Subscriber<Note>();
  const uint32_t first_id = NextSubscribe(peer).subscription();
  auto second = served.bus().Subscriber<Note>();
  const uint32_t second_id = NextSubscribe(peer).subscription();
  const std::string text_of_theirs =
      "mycelium.schema 1\nroot mycelium.test.Note\nmessage "
      "mycelium.test.Note\n";
  const Digest digest = Digest::Of(text_of_theirs);
  const auto refuse = [&](uint32_t subscription, uint32_t publisher,
                          bool has_text, const std::string& text) {
    v1::Control control;
    v1::SubscribeRefused& said = *control.mutable_subscribe_refused();
    said.set_subscription(subscription);
    said.set_publisher(publisher);
    said.set_type_digest(std::string(digest.bytes()));
    said.set_canonical_text(text);
    said.set_has_text(has_text);
    ASSERT_TRUE(peer.SendControl(control));
  };
  refuse(first_id, 1, /*has_text=*/false, text_of_theirs);
  refuse(first_id, 2, /*has_text=*/true, "");
  // The text has already come, with the first one.
  refuse(second_id, 1, /*has_text=*/false, "");
  std::vector<uint32_t> answers;
  for (int i = 0; i < 2; ++i) {
    const auto told = peer.ReadUntilControl(v1::Control::kCanonicalText);
    ASSERT_TRUE(told.has_value());
    EXPECT_EQ(told->control.canonical_text().canonical_text(), TextOfNote());
    answers.push_back(told->control.canonical_text().subscription());
  }
  EXPECT_THAT(answers, ElementsAre(first_id, second_id));
  for (auto* const refused : {&*first, &*second}) {
    const absl::Status status = refused->Receive(kLong).status();
    const auto mismatch = SchemaMismatchOf(status);
    ASSERT_TRUE(mismatch.has_value()) << status;
    EXPECT_THAT(mismatch->difference(), HasSubstr("missing on the other side"));
  }
}

// Not even if it is the text of the subscription.
TEST(WireTextsTest, TextThatIsNotOfTheDigestExplainsNothing) {
  ServedNode served("unix", Taking(SchemaPolicy::kCompatible));
  RawPeer peer = served.Greeted("lies");
  (void)NextSubscribe(peer);  // Those that it had.
  (void)NextSubscribe(peer);
  auto subscriber = served.bus().Subscriber<Note>();
  v1::Control control;
  v1::SubscribeRefused& said = *control.mutable_subscribe_refused();
  said.set_subscription(NextSubscribe(peer).subscription());
  said.set_publisher(1);
  said.set_type_digest(std::string(32, 'x'));
  said.set_canonical_text(TextOfNote());
  ASSERT_TRUE(peer.SendControl(control));
  const auto mismatch = SchemaMismatchOf(subscriber->Receive(kLong).status());
  ASSERT_TRUE(mismatch.has_value());
  EXPECT_EQ(mismatch->difference(),
            "the other side: its text is not what its digest was taken of");
}

}  // namespace
}  // namespace mycelium::test
