// The effect of each overflow policy, message by message: the same scripts give
// the same traces over every transport.
//
// A trace says what each Publish() returned, what each subscriber got (with the
// number of messages lost right before it) and what the ledger has at the end.

#include <future>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/conformance/conformance_fixture.h"

namespace mycelium::test {
namespace {

// Lanes that hold 60 notes of kBlobBytes, and a short patience.
constexpr char kSmallLanes[] =
    "[limits]\nframe_bytes_max = 4096\n"
    "[defaults]\nlane_bytes = \"64KiB\"\npublish_timeout = \"20ms\"";
constexpr size_t kBlobBytes = 1000;

// "1-4", "7": ids in a row as one word.
std::string Runs(const std::vector<std::string>& words,
                 const std::vector<uint64_t>& ids) {
  std::vector<std::string> runs;
  for (size_t i = 0; i < ids.size();) {
    size_t end = i + 1;
    while (end < ids.size() && ids[end] == ids[end - 1] + 1 &&
           words[end] == words[i]) {
      ++end;
    }
    std::string run = absl::StrCat(ids[i]);
    if (end - i > 1) absl::StrAppend(&run, "-", ids[end - 1]);
    runs.push_back(absl::StrCat(run, words[i]));
    i = end;
  }
  return absl::StrJoin(runs, " ");
}

class TraceTest : public ConformanceTest {
 protected:
  static SubscriberOptions Policy(Overflow overflow, int64_t depth = 4,
                                  const std::string& name = "") {
    SubscriberOptions options;
    options.overflow = overflow;
    options.depth = depth;
    options.window = 1;  // As in one process: only what is being handled.
    options.name = name;
    return options;
  }

  Publisher<Note> Publishing(size_t subscriptions) {
    auto publisher = alpha_->Publisher<Note>();
    EXPECT_TRUE(publisher.ok()) << publisher.status();
    EXPECT_THAT(publisher->WaitForSubscribers(subscriptions, kLong), IsOk());
    return *std::move(publisher);
  }

  // Publishes the ids, and returns what came of each.
  static std::string Publish(Publisher<Note>& publisher, uint64_t first,
                             uint64_t last) {
    std::vector<std::string> words;
    std::vector<uint64_t> ids;
    for (uint64_t id = first; id <= last; ++id) {
      const absl::Status sent = publisher.Publish(MakeNote(id, kBlobBytes));
      ids.push_back(id);
      words.push_back(
          sent.ok() ? " OK"
                    : absl::StrCat(" ", absl::StatusCodeToString(sent.code())));
    }
    return Runs(words, ids);
  }

  // Receives up to the note with that id, and does not finish that note.
  static std::string Receive(Subscriber<Note>& from, uint64_t last) {
    std::vector<std::string> words;
    std::vector<uint64_t> ids;
    do {
      auto note = from.Receive(kLong);
      if (!note.ok()) return note.status().ToString();
      ids.push_back((*note)->id());
      const uint64_t lost = from.info().lost_before();
      words.push_back(lost == 0 ? "" : absl::StrCat("(lost ", lost, ")"));
    } while (ids.back() < last);
    return Runs(words, ids);
  }

  // What a handler gets that stays in the first of 20 notes until all are
  // published. The publisher waits for none of them.
  void ExpectHandled(DeliveryMode mode, Overflow overflow,
                     const std::string& trace, const std::string& ledgers) {
    Open(kSmallLanes);
    std::promise<void> started, go;
    std::vector<std::string> words;
    Inbox got;
    SubscriberOptions options = Policy(overflow);
    options.delivery = mode;
    auto handle = beta_->Subscribe<Note>(
        [&](const Note& note, const MessageInfo& info) {
          if (note.id() == 1) {
            started.set_value();
            go.get_future().wait();
          }
          const uint64_t lost = info.lost_before();
          words.push_back(lost == 0 ? "" : absl::StrCat("(lost ", lost, ")"));
          got.Add(note.id());
        },
        options);
    Publisher<Note> publisher = Publishing(1);
    // An inline handler of this process runs on the thread that publishes.
    std::thread first([&] { EXPECT_EQ(Publish(publisher, 1, 1), "1 OK"); });
    started.get_future().wait();
    EXPECT_EQ(Publish(publisher, 2, 20), "2-20 OK");
    go.set_value();
    first.join();
    EXPECT_EQ(Ledgers(), ledgers);
    EXPECT_EQ(Runs(words, got.ids()), trace);
  }

  // The ledger of each subscription, when nothing moves any more.
  std::string Ledgers() {
    Settle();
    std::vector<std::string> lines;
    for (const FlowReport& flow : Flows()) {
      std::string line = absl::StrCat(flow.subscription_name, "accepted ",
                                      flow.ledger.accepted, " delivered ",
                                      flow.ledger.delivered);
      for (size_t i = 0; i < kDropReasonCount; ++i) {
        if (flow.ledger.dropped[i] == 0) continue;
        absl::StrAppend(&line, " ", DropReasonWord(static_cast<DropReason>(i)),
                        " ", flow.ledger.dropped[i]);
      }
      lines.push_back(line);
    }
    std::sort(lines.begin(), lines.end());
    return absl::StrJoin(lines, "; ");
  }
};

TEST_P(TraceTest, DropOldestKeepsTheNewest) {
  Open(kSmallLanes);
  auto pull = beta_->Subscriber<Note>(Policy(Overflow::kDropOldest));
  Publisher<Note> publisher = Publishing(1);
  EXPECT_EQ(Publish(publisher, 1, 1), "1 OK");
  EXPECT_EQ(Receive(*pull, 1), "1");
  EXPECT_EQ(Publish(publisher, 2, 20), "2-20 OK");
  EXPECT_EQ(Receive(*pull, 20), "17(lost 15) 18-20");
  EXPECT_EQ(Publish(publisher, 21, 24), "21-24 OK");
  EXPECT_EQ(Receive(*pull, 24), "21-24");
  (void)pull->TryReceive();
  EXPECT_EQ(Ledgers(), "accepted 24 delivered 9 overflow 15");
}

TEST_P(TraceTest, DropNewestKeepsTheOldest) {
  Open(kSmallLanes);
  auto pull = beta_->Subscriber<Note>(Policy(Overflow::kDropNewest));
  Publisher<Note> publisher = Publishing(1);
  EXPECT_EQ(Publish(publisher, 1, 1), "1 OK");
  EXPECT_EQ(Receive(*pull, 1), "1");
  EXPECT_EQ(Publish(publisher, 2, 20), "2-20 OK");
  EXPECT_EQ(Receive(*pull, 5), "2-5");
  EXPECT_EQ(Publish(publisher, 21, 22), "21-22 OK");
  EXPECT_EQ(Receive(*pull, 22), "21(lost 15) 22");
  (void)pull->TryReceive();
  EXPECT_EQ(Ledgers(), "accepted 22 delivered 7 overflow 15");
}

TEST_P(TraceTest, LatestKeepsOne) {
  Open(kSmallLanes);
  auto pull = beta_->Subscriber<Note>(Policy(Overflow::kLatest));
  Publisher<Note> publisher = Publishing(1);
  EXPECT_EQ(Publish(publisher, 1, 1), "1 OK");
  EXPECT_EQ(Receive(*pull, 1), "1");
  EXPECT_EQ(Publish(publisher, 2, 20), "2-20 OK");
  EXPECT_EQ(Receive(*pull, 20), "20(lost 18)");
  (void)pull->TryReceive();
  EXPECT_EQ(Ledgers(), "accepted 20 delivered 2 overflow 18");
}

TEST_P(TraceTest, LossyLaneKeepsWhatFitsWhereTheDepthIsMore) {
  Open(kSmallLanes);
  auto pull = beta_->Subscriber<Note>(Policy(Overflow::kDropOldest, 1000));
  Publisher<Note> publisher = Publishing(1);
  EXPECT_EQ(Publish(publisher, 1, 1), "1 OK");
  EXPECT_EQ(Receive(*pull, 1), "1");
  EXPECT_EQ(Publish(publisher, 2, 200), "2-200 OK");
  // How many fit depends on the place of the held note.
  auto first = pull->Receive(kLong);
  ASSERT_TRUE(first.ok()) << first.status();
  const uint64_t id = (*first)->id();
  EXPECT_GT(id, 100u);
  EXPECT_LT(id, 160u);
  EXPECT_EQ(pull->info().lost_before(), id - 2);
  EXPECT_EQ(Receive(*pull, 200), absl::StrCat(id + 1, "-200"));
  (void)pull->TryReceive();
  EXPECT_EQ(Ledgers(), absl::StrCat("accepted 200 delivered ", 202 - id,
                                    " overflow_bytes ", id - 2));
}

TEST_P(TraceTest, FailAcceptsWhatFitsAndThenWhatWasGivenBack) {
  Open(kSmallLanes);
  auto pull = beta_->Subscriber<Note>(Policy(Overflow::kFail));
  Publisher<Note> publisher = Publishing(1);
  EXPECT_EQ(Publish(publisher, 1, 1), "1 OK");
  EXPECT_EQ(Receive(*pull, 1), "1");
  EXPECT_EQ(Publish(publisher, 2, 64), "2-60 OK 61-64 RESOURCE_EXHAUSTED");
  EXPECT_EQ(Receive(*pull, 60), "2-60");
  (void)pull->TryReceive();
  Settle();
  EXPECT_EQ(Publish(publisher, 65, 66), "65-66 OK");
  EXPECT_EQ(Receive(*pull, 66), "65-66");
  (void)pull->TryReceive();
  EXPECT_EQ(Ledgers(), "accepted 62 delivered 62");
}

TEST_P(TraceTest, BlockRefusesWhenItHasWaited) {
  Open(kSmallLanes);
  auto pull = beta_->Subscriber<Note>(Policy(Overflow::kBlock));
  Publisher<Note> publisher = Publishing(1);
  EXPECT_EQ(Publish(publisher, 1, 1), "1 OK");
  EXPECT_EQ(Receive(*pull, 1), "1");
  EXPECT_EQ(Publish(publisher, 2, 64), "2-60 OK 61-64 RESOURCE_EXHAUSTED");
  EXPECT_EQ(Receive(*pull, 60), "2-60");
  (void)pull->TryReceive();
  EXPECT_EQ(Ledgers(), "accepted 60 delivered 60");
}

TEST_P(TraceTest, DisconnectDeliversWhatWasAcceptedAndEndsThere) {
  Open(kSmallLanes);
  auto pull = beta_->Subscriber<Note>(Policy(Overflow::kDisconnect));
  Publisher<Note> publisher = Publishing(1);
  EXPECT_EQ(Publish(publisher, 1, 1), "1 OK");
  EXPECT_EQ(Receive(*pull, 1), "1");
  EXPECT_EQ(Publish(publisher, 2, 66), "2-66 OK");
  EXPECT_EQ(Receive(*pull, 60), "2-60");
  const absl::Status end = pull->Receive(kLong).status();
  EXPECT_THAT(end, HasCode(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(end.ToString(), testing::HasSubstr("fell behind"));
  EXPECT_EQ(Ledgers(),
            "accepted 6 delivered 0 no_subscriber 6; "
            "accepted 60 delivered 60");
}

TEST_P(TraceTest, FullLaneOfOneKeepsTheMessageFromAll) {
  Open(kSmallLanes);
  auto full = beta_->Subscriber<Note>(Policy(Overflow::kFail, 4, "fail "));
  auto lossy = beta_->Subscriber<Note>(Policy(Overflow::kLatest, 4, "latest "));
  auto blocks = beta_->Subscriber<Note>(Policy(Overflow::kBlock, 4, "block "));
  Publisher<Note> publisher = Publishing(3);
  EXPECT_EQ(Publish(publisher, 1, 1), "1 OK");
  EXPECT_EQ(Receive(*full, 1), "1");
  EXPECT_EQ(Receive(*lossy, 1), "1");
  EXPECT_EQ(Receive(*blocks, 1), "1");
  EXPECT_EQ(Publish(publisher, 2, 50), "2-50 OK");
  EXPECT_EQ(Receive(*blocks, 50), "2-50");
  EXPECT_EQ(Publish(publisher, 51, 66), "51-60 OK 61-66 RESOURCE_EXHAUSTED");
  EXPECT_EQ(Receive(*blocks, 60), "51-60");
  EXPECT_EQ(Receive(*lossy, 60), "60(lost 58)");
  EXPECT_EQ(Receive(*full, 60), "2-60");
  for (auto* pull : {&*full, &*lossy, &*blocks}) (void)pull->TryReceive();
  EXPECT_EQ(Ledgers(),
            "block accepted 60 delivered 60; fail accepted 60 delivered 60; "
            "latest accepted 60 delivered 2 overflow 58");
}

// As for a pull subscriber that holds one note and takes no other.
TEST_P(TraceTest, InlineHandlerThatStandsStillGetsTheNewest) {
  ExpectHandled(DeliveryMode::kInline, Overflow::kDropOldest,
                "1 17(lost 15) 18-20", "accepted 20 delivered 5 overflow 15");
}

TEST_P(TraceTest, InlineHandlerThatStandsStillGetsTheOldest) {
  ExpectHandled(DeliveryMode::kInline, Overflow::kDropNewest, "1-5",
                "accepted 20 delivered 5 overflow 15");
}

TEST_P(TraceTest, InlineHandlerThatStandsStillGetsTheLatest) {
  ExpectHandled(DeliveryMode::kInline, Overflow::kLatest, "1 20(lost 18)",
                "accepted 20 delivered 2 overflow 18");
}

TEST_P(TraceTest, QueuedHandlerThatStandsStillGetsTheNewest) {
  ExpectHandled(DeliveryMode::kQueued, Overflow::kDropOldest,
                "1 17(lost 15) 18-20", "accepted 20 delivered 5 overflow 15");
}

TEST_P(TraceTest, QueuedHandlerThatStandsStillGetsTheOldest) {
  ExpectHandled(DeliveryMode::kQueued, Overflow::kDropNewest, "1-5",
                "accepted 20 delivered 5 overflow 15");
}

TEST_P(TraceTest, QueuedHandlerThatStandsStillGetsTheLatest) {
  ExpectHandled(DeliveryMode::kQueued, Overflow::kLatest, "1 20(lost 18)",
                "accepted 20 delivered 2 overflow 18");
}

TEST_P(TraceTest, PolicyOfTheTopologyHoldsWhereTheSubscriptionNamesNone) {
  Open(std::string(kSmallLanes) +
       "\noverflow = \"drop_oldest\"\ndepth = 2\nwindow = 1");
  auto pull = beta_->Subscriber<Note>();
  Publisher<Note> publisher = Publishing(1);
  EXPECT_EQ(Publish(publisher, 1, 1), "1 OK");
  EXPECT_EQ(Receive(*pull, 1), "1");
  EXPECT_EQ(Publish(publisher, 2, 9), "2-9 OK");
  EXPECT_EQ(Receive(*pull, 9), "8(lost 6) 9");
  (void)pull->TryReceive();
  EXPECT_EQ(Ledgers(), "accepted 9 delivered 3 overflow 6");
}

// For every policy, and whether the subscription or the topology asks for it.
TEST_P(TraceTest, PolicyOfTheTopologyGivesTheTraceOfTheSubscriptionsOwn) {
  struct Case {
    Overflow overflow;
    uint64_t last;  // The last id of 64 that arrives.
  };
  for (const Case& one :
       {Case{Overflow::kBlock, 60}, Case{Overflow::kFail, 60},
        Case{Overflow::kDropNewest, 5}, Case{Overflow::kDropOldest, 64},
        Case{Overflow::kLatest, 64}, Case{Overflow::kDisconnect, 60}}) {
    SCOPED_TRACE(WordOf(one.overflow));
    std::vector<std::string> traces;
    for (const bool by_topology : {false, true}) {
      alpha_.reset();
      beta_.reset();
      Open(by_topology
               ? absl::StrCat(kSmallLanes, "\noverflow = \"",
                              WordOf(one.overflow), "\"\ndepth = 4\nwindow = 1")
               : kSmallLanes);
      auto pull = by_topology ? beta_->Subscriber<Note>()
                              : beta_->Subscriber<Note>(Policy(one.overflow));
      ASSERT_THAT(pull.status(), IsOk());
      Publisher<Note> publisher = Publishing(1);
      std::vector<std::string> trace;
      trace.push_back(Publish(publisher, 1, 1));
      trace.push_back(Receive(*pull, 1));
      trace.push_back(Publish(publisher, 2, 64));
      trace.push_back(Receive(*pull, one.last));
      (void)pull->TryReceive();
      trace.push_back(Ledgers());
      traces.push_back(absl::StrJoin(trace, "\n"));
    }
    EXPECT_EQ(traces[0], traces[1]);
  }
}

TEST_P(TraceTest, ObjectsThatAreDroppedAreDestroyed) {
  Open(kSmallLanes);
  auto pull = beta_->Subscriber<Note>(Policy(Overflow::kDropOldest, 2));
  Publisher<Note> publisher = Publishing(1);
  std::vector<std::weak_ptr<const Note>> published;
  for (uint64_t id = 1; id <= 10; ++id) {
    auto note = std::make_shared<const Note>(MakeNote(id));
    published.push_back(note);
    ASSERT_THAT(publisher.Publish(std::move(note)), IsOk());
    if (id == 1) {
      EXPECT_EQ(Receive(*pull, 1), "1");
    }
  }
  EXPECT_EQ(Receive(*pull, 10), "9(lost 7) 10");
  (void)pull->TryReceive();
  Settle();
  for (const auto& note : published) EXPECT_TRUE(note.expired());
  EXPECT_EQ(Ledgers(), "accepted 10 delivered 3 overflow 7");
}

MYCELIUM_ALL_TRANSPORTS(TraceTest);

}  // namespace
}  // namespace mycelium::test
