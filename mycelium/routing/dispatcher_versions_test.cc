// Publishers of a peer that have another version of a type, or another type.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mycelium/routing/dispatcher_fixture.h"

namespace mycelium {
namespace {

// A dispatcher that takes compatible versions of a type with one field.
class DispatcherVersionsTest : public DispatcherTest {
 protected:
  DispatcherVersionsTest() {
    dispatcher_.emplace(
        environment_, SchemaPolicy::kCompatible,
        [this](const std::string& note) { notes_.push_back(note); });
    type_.canonical_text = TextWith("  1 x optional int32 presence=implicit\n");
    type_.digest = Digest::Of(type_.canonical_text);
    (void)Add(1, DeliveryMode::kInline);
  }

  static std::string TextWith(const std::string& fields) {
    return "mycelium.schema 1\nroot Reading\nmessage Reading\n" + fields;
  }

  v1::PublisherDeclare DeclaredWith(uint32_t publisher,
                                    const std::string& text) {
    v1::PublisherDeclare declare = Declared(publisher);
    declare.set_canonical_text(text);
    declare.set_type_digest(std::string(Digest::Of(text).bytes()));
    return declare;
  }

  const std::string next_ = TextWith(
      "  1 x optional int32 presence=implicit\n"
      "  2 y optional int32 presence=implicit\n");
  const std::string alien_ =
      TextWith("  1 x optional string presence=implicit\n");
  std::vector<std::string> notes_;
};

TEST_F(DispatcherVersionsTest, CompatibleVersionIsDelivered) {
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, DeclaredWith(1, next_)).ok());
  ASSERT_TRUE(Match(1, 1, 0).ok());
  digest_prefix_ = Digest::Of(next_).prefix();
  EXPECT_EQ(Send(1, 0, 1), FrameOutcome::kHandled);
  EXPECT_EQ(handled_.size(), 1u);
  // Another publisher of the same type says nothing new.
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, DeclaredWith(2, next_)).ok());
  ASSERT_TRUE(Match(2, 1, 0).ok());
  EXPECT_EQ(notes_.size(), 1u);
  // On a new connection the match is there already.
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, DeclaredWith(1, next_)).ok());
  EXPECT_TRUE(Match(1, 1, 0).ok());
}

TEST_F(DispatcherVersionsTest, WhatThePeerSaysIsNotTakenOnTrust) {
  v1::PublisherDeclare without = DeclaredWith(1, next_);
  without.clear_canonical_text();
  v1::PublisherDeclare lie = DeclaredWith(1, alien_);
  lie.set_canonical_text(next_);
  uint32_t id = 0;
  for (v1::PublisherDeclare declare : {without, lie, DeclaredWith(1, alien_)}) {
    declare.set_publisher(++id);
    ASSERT_TRUE(dispatcher_->OnDeclare(link_, declare).ok());
    EXPECT_EQ(Match(id, 1, 0).code(), absl::StatusCode::kInvalidArgument);
    // Said once; what comes from the publisher is dropped, and counted.
    EXPECT_TRUE(Match(id, 1, 0).ok());
    digest_prefix_ = (*Digest::FromBytes(declare.type_digest())).prefix();
    EXPECT_EQ(Send(id, 0, id), FrameOutcome::kHandled);
  }
  EXPECT_TRUE(handled_.empty());
  uint64_t dropped = 0;
  for (const Subscription::FlowLedger& flow : dispatcher_->Find(1)->Ledgers()) {
    dropped += flow.ledger.dropped_for(DropReason::kSchemaMismatch);
  }
  EXPECT_EQ(dropped, 3u);
  EXPECT_TRUE(notes_.empty());
  // Once the text has been sent, messages are taken from there on.
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, DeclaredWith(1, next_)).ok());
  EXPECT_TRUE(Match(1, 1, 0).ok());
  digest_prefix_ = Digest::Of(next_).prefix();
  EXPECT_EQ(Send(1, 0, 9), FrameOutcome::kHandled);
  EXPECT_EQ(handled_.size(), 1u);
}

// The text comes once on a connection, for whatever publishers, and with a
// refusal, too.
TEST_F(DispatcherVersionsTest, TextThatHasComeWillDoForAll) {
  const auto without = [&](uint32_t id) {
    v1::PublisherDeclare declare = DeclaredWith(id, next_);
    declare.clear_canonical_text();
    return declare;
  };
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, DeclaredWith(1, next_)).ok());
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, DeclaredWith(2, alien_)).ok());
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, without(3)).ok());
  EXPECT_TRUE(Match(1, 1, 0).ok());
  EXPECT_TRUE(Match(3, 1, 0).ok());
  EXPECT_EQ(notes_.size(), 1u);

  v1::SubscribeRefused refused;
  refused.set_type_digest(std::string(Digest::Of(alien_).bytes()));
  ASSERT_NE(dispatcher_->HearText(link_, refused), nullptr);
  EXPECT_EQ(dispatcher_->HearText(link_, refused)->text(), alien_);

  // Not on the next one.
  dispatcher_->AwaitMatches(link_);
  EXPECT_EQ(dispatcher_->HearText(link_, refused), nullptr);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, without(4)).ok());
  EXPECT_EQ(Match(4, 1, 0).code(), absl::StatusCode::kInvalidArgument);
  v1::SubscribeRefused said;
  said.set_type_digest(std::string(Digest::Of(next_).bytes()));
  said.set_canonical_text(next_);
  EXPECT_NE(dispatcher_->HearText(link_, said), nullptr);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, without(5)).ok());
  EXPECT_TRUE(Match(5, 1, 0).ok());
  said.set_type_digest("short");
  EXPECT_EQ(dispatcher_->HearText(link_, said), nullptr);
}

// Both ends count that text, or they would not agree on what has been
// forgotten.
TEST_F(DispatcherVersionsTest, TextOfARefusedDeclarationCounts) {
  DeclareAsManyAsThereMayBe();
  ASSERT_FALSE(
      dispatcher_->OnDeclare(link_, DeclaredWith(kBeyond, next_)).ok());
  v1::SubscribeRefused refused;
  refused.set_type_digest(std::string(Digest::Of(next_).bytes()));
  EXPECT_NE(dispatcher_->HearText(link_, refused), nullptr);
}

TEST_F(DispatcherVersionsTest, PublisherDoesNotChangeItsTypeUnderAMatch) {
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, DeclaredWith(1, next_)).ok());
  ASSERT_TRUE(Match(1, 1, 0).ok());
  EXPECT_EQ(dispatcher_->OnDeclare(link_, DeclaredWith(1, alien_)).code(),
            absl::StatusCode::kInvalidArgument);
  digest_prefix_ = Digest::Of(alien_).prefix();
  EXPECT_EQ(Send(1, 0, 1), FrameOutcome::kCorrupt);
}

// In a queue's lane, too.
TEST_F(DispatcherVersionsTest, QueueGetsNothingOfAnotherType) {
  const auto queued = Add(2, DeliveryMode::kQueued);
  ASSERT_TRUE(OpenLane(3, 2).ok());
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, DeclaredWith(1, alien_)).ok());
  EXPECT_EQ(Match(1, 2, 3).code(), absl::StatusCode::kInvalidArgument);
  digest_prefix_ = Digest::Of(alien_).prefix();
  EXPECT_EQ(Send(1, 3, 1), FrameOutcome::kHandled);
  EXPECT_FALSE(queued->queue().HasFrame());
}

// A dropped frame is not reported as handled before the frames ahead of it in
// the lane: the peer would not send those to the next process.
TEST_F(DispatcherVersionsTest, DroppedFrameWaitsForThoseAheadOfIt) {
  const auto queued = Add(2, DeliveryMode::kQueued);
  ASSERT_TRUE(OpenLane(3, 2).ok());
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, DeclaredWith(1, alien_)).ok());
  ASSERT_FALSE(Match(1, 2, 3).ok());
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(2)).ok());
  ASSERT_TRUE(Match(2, 2, 3).ok());
  const uint64_t ours = type_.digest.prefix();
  const uint64_t others = Digest::Of(alien_).prefix();
  const auto send = [&](uint32_t publisher, uint64_t sequence) {
    digest_prefix_ = publisher == 1 ? others : ours;
    return Send(publisher, 3, sequence);
  };
  EXPECT_EQ(send(2, 1), FrameOutcome::kTaken);
  EXPECT_EQ(send(1, 2), FrameOutcome::kTaken);
  EXPECT_EQ(send(2, 3), FrameOutcome::kTaken);
  EXPECT_EQ(send(1, 4), FrameOutcome::kTaken);
  EXPECT_EQ(send(1, 5), FrameOutcome::kTaken);
  EXPECT_TRUE(link_.handled.empty());
  const auto handled = [&] {
    std::vector<uint64_t> positions;
    for (const FakeLink::Handled& handled : link_.handled) {
      EXPECT_EQ(handled.lane, 3u);
      positions.push_back(handled.position / 64);
    }
    return positions;
  };
  for (uint64_t expected : {1, 3}) {
    const FrameView* const frame = queued->queue().Take();
    ASSERT_NE(frame, nullptr);
    EXPECT_EQ(frame->header.publisher_sequence, expected);
  }
  EXPECT_EQ(handled(), (std::vector<uint64_t>{1}));
  queued->queue().Finish();
  EXPECT_EQ(handled(), (std::vector<uint64_t>{1, 5}));
  // Nothing is ahead of this frame, and what comes later has its own end.
  EXPECT_EQ(send(1, 6), FrameOutcome::kHandled);
  EXPECT_EQ(send(2, 7), FrameOutcome::kTaken);
  ASSERT_NE(queued->queue().Take(), nullptr);
  queued->queue().Finish();
  EXPECT_EQ(handled(), (std::vector<uint64_t>{1, 5, 7}));
  EXPECT_EQ(queued->queue().Take(), nullptr);
}

TEST_F(DispatcherVersionsTest, OriginBeyondTheLimitIsMatchedAllTheSame) {
  DeclareMany(Dispatcher::kOriginsMax, [&](size_t number) {
    v1::PublisherDeclare declare = Declared(1);
    declare.set_topic(absl::StrCat("topic", number));
    return declare;
  });
  // There are two versions here, too, and the publisher is counted for one of
  // them.
  type_.canonical_text =
      absl::StrCat(next_, "  3 z optional int32 presence=implicit\n");
  type_.digest = Digest::Of(type_.canonical_text);
  (void)Add(2, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, DeclaredWith(1, next_)).ok());
  ASSERT_TRUE(Match(1, 1, 0).ok());
  ASSERT_TRUE(Match(1, 2, 0).ok());
  digest_prefix_ = Digest::Of(next_).prefix();
  EXPECT_EQ(Send(1, 0, 1), FrameOutcome::kHandled);
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, 1}, {2, 1}}));
}

TEST_F(DispatcherVersionsTest, ExactTakesTheSameTypeOnly) {
  dispatcher_.emplace(environment_);
  (void)Add(1, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, DeclaredWith(1, next_)).ok());
  EXPECT_EQ(Match(1, 1, 0).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace mycelium
