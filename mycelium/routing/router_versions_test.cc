// Subscriptions and publishers that have two versions of a type.

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/routing/router_fixture.h"
#include "mycelium/routing/schema_mismatch.h"

namespace mycelium {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

// `Reading` with these fields.
MessageType Version(const std::string& fields) {
  const std::string text = absl::StrCat(
      "mycelium.schema 1\nroot Reading\nmessage Reading\n", fields);
  MessageType type = RawMessageType("Reading", Digest::Of(text));
  type.canonical_text = text;
  return type;
}

const char kX[] = "  1 x optional int32 presence=implicit\n";
const char kY[] = "  2 y optional int32 presence=implicit\n";
const char kZ[] = "  3 z optional int32 presence=implicit\n";

class RouterVersionsTest : public RouterTest {
 protected:
  explicit RouterVersionsTest(SchemaPolicy schema = SchemaPolicy::kCompatible)
      : RouterTest(schema) {}

  // What a node says that takes compatible versions.
  static v1::Subscribe Open(uint32_t id, const MessageType& type) {
    v1::Subscribe subscribe = Subscribe(id, type);
    subscribe.set_takes_versions(true);
    subscribe.set_canonical_text(type.canonical_text);
    return subscribe;
  }

  void Explain(uint32_t id, const MessageType& type) {
    v1::CanonicalText text;
    text.set_subscription(id);
    text.set_canonical_text(type.canonical_text);
    router_->ExplainRefusal(link_, text);
  }

  // Of subscriptions with these numbers and higher ones.
  void PushTextsOut(uint32_t first = 2) {
    constexpr size_t kMost =
        Router::kExplanationsBytesMax / kExplanationBytesMax;
    for (uint32_t id = first; id < first + kMost; ++id) {
      v1::Subscribe other = Open(id, other_type_);
      other.set_topic("elsewhere");
      other.set_canonical_text(
          std::string(kExplanationBytesMax, static_cast<char>('a' + id)));
      router_->AddRemote(link_, other);
    }
  }

  // The texts that publishers were declared with.
  std::vector<std::string> DeclaredTexts() const {
    std::vector<std::string> texts;
    for (const v1::Control& sent : link_.Sent(v1::Control::kPublisher)) {
      texts.push_back(sent.publisher().canonical_text());
    }
    return texts;
  }

  std::vector<v1::Control> Refusals() const {
    return link_.Sent(v1::Control::kSubscribeRefused);
  }

  const MessageType old_ = Version(kX);
  const MessageType next_ = Version(absl::StrCat(kX, kY));
  const MessageType last_ = Version(absl::StrCat(kX, kY, kZ));
  const MessageType between_ = Version(absl::StrCat(kX, kZ));
  const MessageType alien_ =
      Version("  1 x optional string presence=implicit\n");
};

TEST_F(RouterVersionsTest, CompatibleVersionIsMatchedAndToldWhatItReads) {
  const auto publisher = AddPublisher(old_);
  router_->AddRemote(link_, Open(1, next_));
  EXPECT_EQ(router_->SubscriberCount(*publisher), 1u);
  EXPECT_THAT(link_.Sent(v1::Control::kMatched), SizeIs(1));
  EXPECT_THAT(DeclaredTexts(), ElementsAre(old_.canonical_text));
  EXPECT_THAT(Refusals(), IsEmpty());
  EXPECT_THAT(notes_, ElementsAre("topic \"readings\": node there has another "
                                  "version of Reading, which is compatible: "
                                  "Reading.y (2): missing on this side"));
  router_->Repeat(link_);
  EXPECT_THAT(DeclaredTexts(),
              ElementsAre(old_.canonical_text, old_.canonical_text));
  EXPECT_THAT(notes_, SizeIs(1)) << "once";
}

TEST_F(RouterVersionsTest, SameVersionIsDeclaredWithoutAText) {
  const auto publisher = AddPublisher(old_);
  router_->AddRemote(link_, Open(1, old_));
  EXPECT_EQ(router_->SubscriberCount(*publisher), 1u);
  EXPECT_THAT(DeclaredTexts(), ElementsAre(""));
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(RouterVersionsTest, OtherChangesAreRefusedWithWhatMakesThemSo) {
  const auto publisher = AddPublisher(next_);
  router_->AddRemote(link_, Open(1, alien_));
  EXPECT_EQ(router_->SubscriberCount(*publisher), 0u);
  ASSERT_THAT(refusals_, SizeIs(1));
  EXPECT_THAT(std::string(refusals_[0].message()),
              HasSubstr("Reading.x (1): int32 -> string"));
  EXPECT_TRUE(router_->AreRefusalsExplained(*publisher)) << "at once";
}

TEST_F(RouterVersionsTest, WhoSaysNoTextTakesTheSameOnly) {
  const auto publisher = AddPublisher(old_);
  router_->AddRemote(link_, Subscribe(1, next_));
  EXPECT_EQ(router_->SubscriberCount(*publisher), 0u);
  // Which explains, and allows nothing.
  Explain(1, next_);
  EXPECT_EQ(router_->SubscriberCount(*publisher), 0u);
  EXPECT_THAT(std::string(router_->Refusals(*publisher)[0].message()),
              HasSubstr("compatible, but"));
}

TEST_F(RouterVersionsTest, TextThatIsNotOfTheDigestIsOfNoUse) {
  const auto publisher = AddPublisher(old_);
  v1::Subscribe lie = Open(1, alien_);
  lie.set_canonical_text(next_.canonical_text);
  router_->AddRemote(link_, lie);
  EXPECT_EQ(router_->SubscriberCount(*publisher), 0u);
  EXPECT_THAT(Refusals(), SizeIs(1));
  ASSERT_THAT(refusals_, SizeIs(1));
  EXPECT_EQ(SchemaMismatchOf(refusals_[0])->difference(),
            "the other side: its text is not what its digest was taken of");
}

TEST_F(RouterVersionsTest, TextCountsNotAsPartOfTheSubscription) {
  const auto publisher = AddPublisher(old_);
  std::string fields = kX;
  for (int number = 2; number < 200; ++number) {
    absl::StrAppend(&fields, "  ", number, " f", number,
                    " optional int32 presence=implicit\n");
  }
  const MessageType large = Version(fields);
  ASSERT_GT(large.canonical_text.size(), Router::kSubscribeBytesMax);
  router_->AddRemote(link_, Open(1, large));
  EXPECT_EQ(router_->SubscriberCount(*publisher), 1u);
  v1::Subscribe too_large = Open(2, large);
  too_large.set_name(std::string(Router::kSubscribeBytesMax, 'n'));
  router_->AddRemote(link_, too_large);
  EXPECT_EQ(router_->SubscriberCount(*publisher), 1u);
}

// As many texts as there may be push the oldest out. What was found with it
// stays, and who needs it again gets it.
TEST_F(RouterVersionsTest, TextThatWasForgottenIsAskedFor) {
  const auto first = AddPublisher(old_);
  router_->AddRemote(link_, Open(1, last_));
  ASSERT_EQ(router_->SubscriberCount(*first), 1u);
  PushTextsOut();
  EXPECT_EQ(router_->SubscriberCount(*first), 1u);
  const auto second = AddPublisher(next_);
  EXPECT_EQ(router_->SubscriberCount(*first), 1u);
  EXPECT_EQ(router_->SubscriberCount(*second), 0u);
  EXPECT_THAT(router_->Refusals(*second), IsEmpty()) << "nobody knows yet";
  router_->Repeat(link_);
  ASSERT_THAT(Refusals(), SizeIs(2)) << "asked on each connection";
  for (const v1::Control& sent : Refusals()) {
    EXPECT_TRUE(sent.subscribe_refused().asks());
    EXPECT_EQ(sent.subscribe_refused().publisher(), 2u);
  }
  Explain(1, last_);
  router_->Repeat(link_);
  EXPECT_EQ(router_->SubscriberCount(*second), 1u);
  EXPECT_THAT(Refusals(), SizeIs(2)) << "but not once it has answered";
  // Forgotten again, it is asked for again, once for both who need it.
  PushTextsOut(/*first=*/20);
  const auto third = AddPublisher(between_);
  const auto fourth = AddPublisher(between_);
  EXPECT_THAT(Refusals(), SizeIs(3));
  Explain(1, last_);
  EXPECT_EQ(router_->SubscriberCount(*third), 1u);
  EXPECT_EQ(router_->SubscriberCount(*fourth), 1u);
  PushTextsOut(/*first=*/40);
  const auto fifth =
      AddPublisher(Version("  1 x optional int32 presence=implicit\n"
                           "  4 w optional int32 presence=implicit\n"));
  EXPECT_THAT(Refusals(), SizeIs(4));
  EXPECT_THAT(refusals_, IsEmpty());
}

// Two whose texts push each other out are not asked for ever.
TEST_F(RouterVersionsTest, WhoWasRefusedIsNotAskedAgain) {
  const auto first = AddPublisher(alien_);
  constexpr size_t kMost = Router::kExplanationsBytesMax / kExplanationBytesMax;
  std::vector<MessageType> types;
  for (uint32_t id = 1; id < 3 + kMost; ++id) {
    MessageType large = next_;
    large.canonical_text.resize(kExplanationBytesMax,
                                static_cast<char>('a' + id));
    large.digest = Digest::Of(large.canonical_text);
    types.push_back(large);
    router_->AddRemote(link_, Open(id, large));
  }
  EXPECT_THAT(Refusals(), SizeIs(types.size()));
  const auto second = AddPublisher(old_);
  // Those whose text is gone are asked; each answer pushes another one out.
  size_t answered = 0;
  for (size_t read = types.size(); read < Refusals().size(); ++read) {
    const v1::SubscribeRefused refused = Refusals()[read].subscribe_refused();
    if (!refused.asks()) continue;
    ASSERT_LT(++answered, 4 * types.size());
    Explain(refused.subscription(), types[refused.subscription() - 1]);
  }
  EXPECT_GT(answered, 0u);
  EXPECT_THAT(router_->Refusals(*second), SizeIs(types.size()));
}

// A type of which only the digest is known has a version of its own alone, and
// says nothing of one that has the text as well.
TEST_F(RouterVersionsTest, TypeWithoutATextIsNoVersion) {
  const MessageType bare = RawMessageType("Reading", old_.digest);
  for (const bool bare_first : {true, false}) {
    const auto first = AddPublisher(bare_first ? bare : old_);
    const auto second = AddPublisher(bare_first ? old_ : bare);
    router_->AddRemote(link_, Open(1, next_));
    EXPECT_EQ(router_->SubscriberCount(*first), bare_first ? 0u : 1u);
    EXPECT_EQ(router_->SubscriberCount(*second), bare_first ? 1u : 0u);
    const auto& refused = bare_first ? first : second;
    ASSERT_THAT(router_->Refusals(*refused), SizeIs(1));
    EXPECT_EQ(SchemaMismatchOf(router_->Refusals(*refused)[0])->difference(),
              "");
    router_->RemovePublisher(*first);
    router_->RemovePublisher(*second);
    router_->RemoveRemote(link_, 1);
  }
}

// Said once on each connection, for all subscriptions of that type.
TEST_F(RouterVersionsTest, TextOfAnotherSubscriptionOfTheLinkWillDo) {
  const auto publisher = AddPublisher(old_);
  router_->AddRemote(link_, Open(1, next_));
  v1::Subscribe second = Open(2, next_);
  second.clear_canonical_text();
  router_->AddRemote(link_, second);
  EXPECT_EQ(router_->SubscriberCount(*publisher), 2u);
  // Of another link it is another matter.
  FakeLink elsewhere("elsewhere");
  router_->AddRemote(elsewhere, second);
  EXPECT_EQ(router_->SubscriberCount(*publisher), 2u);
  ASSERT_THAT(elsewhere.Sent(v1::Control::kSubscribeRefused), SizeIs(1));
  EXPECT_TRUE(elsewhere.Sent(v1::Control::kSubscribeRefused)[0]
                  .subscribe_refused()
                  .asks());
  router_->RemoveLink(elsewhere, DropReason::kSubscriberGone);
  // On the next connection the text comes once.
  const size_t before = DeclaredTexts().size();
  router_->Repeat(link_);
  EXPECT_EQ(DeclaredTexts().size(), before + 1);
}

// A text may have 256 KiB, and a peer may leave 64 MiB unread.
TEST_F(RouterVersionsTest, TextIsSentOncePerTypeAndConnection) {
  std::vector<std::shared_ptr<FanOut>> publishers;
  for (const MessageType& type : {old_, last_, old_, last_}) {
    publishers.push_back(AddPublisher(type));
  }
  router_->AddRemote(link_, Open(1, next_));
  EXPECT_THAT(DeclaredTexts(),
              ElementsAre(old_.canonical_text, last_.canonical_text, "", ""));
  link_.sent.clear();
  router_->AddRemote(link_, Open(2, next_));
  publishers.push_back(AddPublisher(old_));
  EXPECT_THAT(DeclaredTexts(), Each(IsEmpty()));
  link_.sent.clear();
  router_->Repeat(link_);
  EXPECT_THAT(DeclaredTexts(), ElementsAre(old_.canonical_text,
                                           last_.canonical_text, "", "", ""));
  // Before that, too, other threads may have something to say, which may be
  // lost.
  link_.sent.clear();
  router_->AwaitRepeat(link_);
  for (int i = 0; i < 2; ++i) publishers.push_back(AddPublisher(last_));
  EXPECT_THAT(DeclaredTexts(),
              ElementsAre(last_.canonical_text, last_.canonical_text,
                          last_.canonical_text, last_.canonical_text));
  link_.sent.clear();
  router_->Repeat(link_);
  publishers.push_back(AddPublisher(last_));
  EXPECT_THAT(DeclaredTexts(),
              ElementsAre(old_.canonical_text, last_.canonical_text, "", "", "",
                          "", "", "", ""));
}

TEST_F(RouterVersionsTest, RefusalsSayEachTextOnceAndAskOnce) {
  std::vector<std::shared_ptr<FanOut>> publishers;
  for (int i = 0; i < 3; ++i) publishers.push_back(AddPublisher(alien_));
  router_->AddRemote(link_, Subscribe(1, old_));
  router_->AddRemote(link_, Subscribe(2, old_));
  const auto said = [&] {
    std::vector<std::string> said;
    for (const v1::Control& sent : Refusals()) {
      const v1::SubscribeRefused& refused = sent.subscribe_refused();
      EXPECT_EQ(refused.type_digest(), std::string(alien_.digest.bytes()));
      said.push_back(absl::StrCat(
          refused.subscription(),
          refused.canonical_text() == alien_.canonical_text ? " text" : "",
          refused.has_text() ? "" : " answer"));
    }
    return said;
  };
  EXPECT_THAT(said(),
              ElementsAre("1 text answer", "1", "1", "2 answer", "2", "2"));
  EXPECT_THAT(refusals_, SizeIs(2)) << "one line for each subscription";
  Explain(1, old_);
  EXPECT_THAT(refusals_, SizeIs(3)) << "and the one that is news";
  Explain(1, next_);
  EXPECT_THAT(refusals_, SizeIs(3)) << "for which nobody has asked";
  for (const auto& publisher : publishers) {
    const auto refusals = router_->Refusals(*publisher);
    ASSERT_THAT(refusals, SizeIs(2));
    EXPECT_THAT(SchemaMismatchOf(refusals[0])->difference(),
                HasSubstr("x (1): string -> int32"));
    EXPECT_THAT(SchemaMismatchOf(refusals[1])->difference(), IsEmpty());
  }
  link_.sent.clear();
  router_->Repeat(link_);
  EXPECT_THAT(said(),
              UnorderedElementsAre("1 text", "1", "1", "2 answer", "2", "2"));
  EXPECT_THAT(refusals_, SizeIs(3));
  // When all have ended, the next one is news again.
  for (const auto& publisher : publishers) router_->RemovePublisher(*publisher);
  publishers = {AddPublisher(alien_), AddPublisher(alien_)};
  EXPECT_THAT(refusals_, SizeIs(5));
  publishers.push_back(AddPublisher(alien_));
  // A new process knows nothing.
  link_.sent.clear();
  router_->Orphan(link_, kNever);
  router_->AddRemote(link_, Subscribe(1, old_));
  EXPECT_THAT(said(), ElementsAre("1 text answer", "1", "1"));
}

// That services differ is not told as a difference of types, whatever has
// become of the text.
TEST_F(RouterVersionsTest, ClashOfServicesStaysOneWhenTheTextIsForgotten) {
  const std::string ours(Digest::kBytes, 'o');
  const auto publisher = AddPublisher(old_, /*target=*/"", ours);
  v1::Subscribe subscribe = Open(1, next_);
  subscribe.set_service_digest(std::string(Digest::kBytes, 't'));
  router_->AddRemote(link_, subscribe);
  const auto is_clash = [&] {
    const auto refusals = router_->Refusals(*publisher);
    return refusals.size() == 1 &&
           SchemaMismatchOf(refusals[0])->local_digest() == ours;
  };
  EXPECT_TRUE(is_clash());
  PushTextsOut();
  router_->RetryLanes();
  const auto other = AddPublisher(old_);
  EXPECT_TRUE(is_clash());
  link_.sent.clear();
  router_->Repeat(link_);
  ASSERT_THAT(Refusals(), SizeIs(1));
  EXPECT_EQ(Refusals()[0].subscribe_refused().service_digest(), ours);
  // One that does not clash is matched, and told of.
  EXPECT_EQ(router_->SubscriberCount(*other), 1u);
  EXPECT_THAT(notes_, SizeIs(1));
}

// A peer could not be told what it would read.
TEST_F(RouterVersionsTest, PublisherWhoseTextIsTooLongMatchesItsOwnTypeOnly) {
  for (const size_t over : {0, 1}) {
    std::string fields = kX;
    for (int number = 2; fields.size() < kExplanationBytesMax; ++number) {
      absl::StrAppend(&fields, "  ", number, " f", number,
                      " optional int32 presence=implicit\n");
    }
    const size_t size = kExplanationBytesMax + over;
    // The last field's name makes up for what is missing.
    std::string text = Version(fields).canonical_text;
    text.resize(text.rfind("\n  ", size - 200) + 1);
    const std::string start = "  99999 ";
    const std::string end = " optional int32 presence=implicit\n";
    text.append(start);
    text.append(size - text.size() - end.size(), 'n');
    text.append(end);
    ASSERT_EQ(text.size(), size);
    MessageType large = RawMessageType("Reading", Digest::Of(text));
    large.canonical_text = text;
    const auto publisher = AddPublisher(large);
    router_->AddRemote(link_, Open(1 + over, old_));
    EXPECT_EQ(router_->SubscriberCount(*publisher), over == 0 ? 1u : 0u);
    if (over == 1) {
      EXPECT_THAT(std::string(router_->Refusals(*publisher)[0].message()),
                  HasSubstr("this side: schema text of 262145 bytes"));
    }
    router_->RemovePublisher(*publisher);
    router_->RemoveRemote(link_, 1 + over);
  }
}

// Texts of one type are one text.
TEST_F(RouterVersionsTest, ManySubscriptionsOfOneTypePushNothingOut) {
  const auto first = AddPublisher(old_);
  MessageType large = next_;
  large.canonical_text.append(kExplanationBytesMax / 2, '#');
  large.digest = Digest::Of(large.canonical_text);
  router_->AddRemote(link_, Open(1, next_));
  for (uint32_t id = 2; id < 12; ++id) {
    router_->AddRemote(link_, Open(id, large));
  }
  const auto second = AddPublisher(last_);
  EXPECT_EQ(router_->SubscriberCount(*second), 1u) << "whose text is there";
}

class OrphanVersionsTest : public RouterVersionsTest {
 protected:
  // A process that has `before` dies with a message unhandled, and one that
  // says `subscribe` comes.
  void Restart(const v1::Subscribe& before, const v1::Subscribe& subscribe) {
    publisher_ = AddPublisher(old_);
    router_->AddRemote(link_, before);
    ASSERT_TRUE(Publish(*publisher_).ok());
    router_->Orphan(link_, kNever);
    router_->AddRemote(link_, subscribe);
  }

  std::shared_ptr<FanOut> publisher_;
};

TEST_F(OrphanVersionsTest, CompatibleVersionTakesOver) {
  Restart(Subscribe(1, old_), Open(7, next_));
  EXPECT_THAT(link_.adopted, SizeIs(1));
  EXPECT_THAT(link_.dropped, IsEmpty());
  EXPECT_EQ(router_->SubscriberCount(*publisher_), 1u);
  // Told of the match, the new one has to hear what it will read.
  EXPECT_THAT(DeclaredTexts(), ElementsAre("", old_.canonical_text));
  EXPECT_EQ(link_.Sent(v1::Control::kMatched)[1].matched().subscription(), 7u);
}

TEST_F(OrphanVersionsTest, TextThatOnlyTheDeadOneHadWillDo) {
  v1::Subscribe again = Open(7, next_);
  again.clear_canonical_text();
  Restart(Open(1, next_), again);
  EXPECT_THAT(link_.adopted, SizeIs(1));
  EXPECT_EQ(router_->SubscriberCount(*publisher_), 1u);
  EXPECT_THAT(Refusals(), IsEmpty());
  ASSERT_TRUE(Publish(*publisher_).ok());
}

TEST_F(OrphanVersionsTest, WhoTakesExactlyAnotherTypeDoesNot) {
  Restart(Open(1, next_), Subscribe(7, next_));
  EXPECT_THAT(link_.adopted, IsEmpty());
  EXPECT_THAT(link_.dropped, SizeIs(1));
  EXPECT_EQ(router_->SubscriberCount(*publisher_), 0u);
  const auto reports = router_->Reports().reports();
  ASSERT_THAT(reports, SizeIs(1));
  EXPECT_EQ(reports[0].ledger.accepted, 1u);
  EXPECT_EQ(reports[0].ledger.dropped_for(DropReason::kSubscriberGone), 1u);
}

// What the dead one was asked, the new one has not heard.
TEST_F(OrphanVersionsTest, WhoTakesOverIsAskedAnew) {
  publisher_ = AddPublisher(old_);
  router_->AddRemote(link_, Subscribe(1, old_));
  const auto other = AddPublisher(alien_);
  ASSERT_TRUE(Publish(*publisher_).ok());
  router_->Orphan(link_, kNever);
  router_->AddRemote(link_, Subscribe(7, old_));
  EXPECT_THAT(link_.adopted, SizeIs(1));
  ASSERT_THAT(Refusals(), SizeIs(2));
  for (const v1::Control& sent : Refusals()) {
    EXPECT_FALSE(sent.subscribe_refused().has_text());
    EXPECT_EQ(sent.subscribe_refused().canonical_text(), alien_.canonical_text);
  }
}

TEST_F(OrphanVersionsTest, IncompatibleTypeDoesNot) {
  Restart(Open(1, next_), Open(7, alien_));
  EXPECT_THAT(link_.adopted, IsEmpty());
  EXPECT_THAT(link_.dropped, SizeIs(1));
}

class ExactRouterTest : public RouterVersionsTest {
 protected:
  ExactRouterTest() : RouterVersionsTest(SchemaPolicy::kExact) {}
};

TEST_F(ExactRouterTest, NodeThatPublishesMayWantTheSameType) {
  const auto publisher = AddPublisher(old_);
  router_->AddRemote(link_, Open(1, next_));
  EXPECT_EQ(router_->SubscriberCount(*publisher), 0u);
  ASSERT_THAT(refusals_, SizeIs(1));
  EXPECT_THAT(std::string(refusals_[0].message()),
              HasSubstr("compatible, but"));
}

}  // namespace
}  // namespace mycelium
