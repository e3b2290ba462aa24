// What a peer may do with the memory of loans, its own and ours.

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "mycelium/message/protobuf_type.h"
#include "tests/conformance/hostile_memory_fixture.h"
#include "tests/support/comes.h"

namespace mycelium::test {
namespace {

using ::testing::HasSubstr;

constexpr size_t kRingBytes = 1 << 16;
constexpr size_t kLoansBytes = 1 << 14;
constexpr uint64_t kIdentity = 4711;
constexpr uint32_t kMemory = 5;
constexpr size_t kInMax = 256;

class HostileLenderTest : public HostileMemoryTest {
 protected:
  struct Lender {
    std::string name;
    RawPeer peer;
    std::unique_ptr<RawLane> lane;
    uint32_t controls;  // That it has sent.
  };

  // Opens lane 0 for the inline subscription.
  Lender Start(uint32_t lossy_window = 0, bool shares = true) {
    const std::string name = absl::StrCat("lender-", ++hostiles_);
    Lender started{name, served_->Greeted(name, 1, /*shares=*/true),
                   std::make_unique<RawLane>(kRingBytes, kIdentity), 3};
    started.peer.SendControl(DeclareOf(1));
    v1::Control open = LaneOpenOf(0, 0, kRingBytes, 0);
    open.mutable_lane_open()->set_control_number(2);
    open.mutable_lane_open()->set_lossy_window(lossy_window);
    if (shares) {
      open.mutable_lane_open()->set_shared_identity(kIdentity);
      EXPECT_TRUE(started.peer.SendWithDescriptors(
          ControlBytes(open), started.lane->descriptors()));
    } else {
      started.peer.SendControl(open);
    }
    started.peer.SendControl(MatchOf(1, served_->inline_id(), 0));
    return started;
  }

  static v1::Control OpenOf(uint32_t memory, uint64_t bytes) {
    v1::Control open;
    open.mutable_loan_memory_open()->set_memory(memory);
    open.mutable_loan_memory_open()->set_bytes(bytes);
    return open;
  }

  // Offers the memory, and returns why it is refused.
  static std::string Offer(Lender& lender, uint32_t memory, uint64_t bytes,
                           const std::vector<int>& descriptors) {
    ++lender.controls;
    const std::string record = ControlBytes(OpenOf(memory, bytes));
    EXPECT_TRUE(descriptors.empty()
                    ? lender.peer.Send(record)
                    : lender.peer.SendWithDescriptors(record, descriptors));
    const auto answer =
        lender.peer.ReadUntilControl(v1::Control::kLoanMemoryTaken);
    if (!answer.has_value()) return "no answer";
    EXPECT_EQ(answer->control.loan_memory_taken().memory(), memory);
    return answer->control.loan_memory_taken().reason();
  }
  std::string Offer(Lender& lender, uint32_t memory = kMemory) {
    return Offer(lender, memory, kLoansBytes, loans_.descriptors());
  }

  // Writes a note with that id into the memory; returns a frame that refers to
  // it.
  RawFrame Lend(uint64_t id, uint64_t offset, uint32_t memory = kMemory) {
    Note note = MakeNote(id);
    note.set_blob(std::string(2000, 'b'));
    const std::string bytes = note.SerializeAsString();
    if (offset + bytes.size() <= kLoansBytes) {
      std::memcpy(loans_.ring() + offset, bytes.data(), bytes.size());
    }
    RawFrame frame = NoteFrame(id);
    frame.flags = kFrameElsewhere;
    frame.payload.assign(bytes.size(), '\xFF');
    const LoanReference reference = {memory, 0, offset};
    std::memcpy(frame.payload.data(), &reference, sizeof reference);
    return frame;
  }
  size_t lent_bytes() { return Lend(1, 0).payload.size(); }

  // One loan is delivered; then something bad comes behind it.
  void ExpectNoticed(const std::vector<std::string>& reasons,
                     const std::function<RawFrame()>& bad) {
    SCOPED_TRACE(reasons.back());
    Lender hostile = Start();
    ASSERT_EQ(Offer(hostile), "");
    const uint64_t at = hostile.lane->Write(0, Lend(1, 0), hostile.controls);
    Ring(hostile.peer);
    ASSERT_TRUE(served_->HasGotFrom(hostile.name)) << served_->Told();
    hostile.lane->Write(at, bad(), hostile.controls);
    Ring(hostile.peer);
    ExpectDataLoss(hostile.name, reasons);
    EXPECT_TRUE(hostile.peer.Closed());
    EXPECT_EQ(served_->IdsFrom(hostile.name, "inline").size(), 1u);
  }

  RawLane loans_{kLoansBytes, 0};
};

TEST_F(HostileLenderTest, LoansByHandAreDeliveredFromWhereTheyLie) {
  Lender honest = Start();
  ASSERT_EQ(Offer(honest), "");
  uint64_t at = 0;
  const uint64_t last = kLoansBytes - lent_bytes();
  for (const uint64_t offset : {uint64_t{0}, uint64_t{4099}, last}) {
    const uint64_t id = honest.controls - 3;
    at = honest.lane->Write(at, Lend(id, offset), honest.controls);
    Ring(honest.peer);
    ASSERT_TRUE(Comes([&] { return honest.lane->released() == at; }));
    EXPECT_EQ(served_->IdsFrom(honest.name, "inline").count(id), 1u);
    ASSERT_EQ(Offer(honest, kMemory + honest.controls), "");
  }
  EXPECT_FALSE(honest.peer.ClosedWithin(0));
}

TEST_F(HostileLenderTest, ReferenceThatLeadsNowhereIsNoticed) {
  const std::vector<std::string> reasons = {
      "lane 0 in shared memory", "frame 2 before position",
      "refers to a loan that does not lie in memory which is mapped"};
  ExpectNoticed(reasons, [&] { return Lend(2, 0, kMemory + 1); });
  ExpectNoticed(reasons, [&] { return Lend(2, 0, 0); });
  for (const uint64_t offset :
       {kLoansBytes - lent_bytes() + 1, kLoansBytes, uint64_t{1} << 40,
        ~uint64_t{0}, ~uint64_t{0} - 2047, ~uint64_t{0} - lent_bytes() + 1}) {
    ExpectNoticed(reasons, [&] { return Lend(2, offset); });
  }
  for (const size_t bytes : {0, 1, 8, 15}) {
    ExpectNoticed(reasons, [&] {
      RawFrame frame = Lend(2, 0);
      frame.payload.resize(bytes);
      return frame;
    });
  }
  ExpectNoticed(reasons, [&] {
    RawFrame frame = Lend(2, 0);
    frame.extension_bytes = 8;
    return frame;
  });
}

TEST_F(HostileLenderTest, ReferenceIntoMemoryThatWasClosedIsNoticed) {
  Lender hostile = Start();
  ASSERT_EQ(Offer(hostile), "");
  v1::Control closed;
  closed.mutable_loan_memory_closed()->set_memory(kMemory);
  hostile.peer.SendControl(closed);
  hostile.peer.SendControl(closed);  // Again: there is none any more.
  hostile.controls += 2;
  // By now the node has read the closing.
  ASSERT_EQ(Offer(hostile, kMemory + 1), "");
  hostile.lane->Write(0, Lend(1, 0), hostile.controls);
  Ring(hostile.peer);
  ExpectDataLoss(hostile.name, {"frame 1 before position", "refers to a loan"});
}

TEST_F(HostileLenderTest, ReferenceInALossyLaneIsNoticed) {
  Lender hostile = Start(/*lossy_window=*/2);
  ASSERT_EQ(Offer(hostile), "");
  hostile.lane->Write(0, Lend(1, 0), hostile.controls);
  Ring(hostile.peer);
  ExpectDataLoss(hostile.name, {"no frame starts"});
  EXPECT_TRUE(served_->IdsFrom(hostile.name, "inline").empty());
}

TEST_F(HostileLenderTest, ReferenceOverTheSocketIsNoticed) {
  Lender hostile = Start(0, /*shares=*/false);
  ASSERT_EQ(Offer(hostile), "");
  hostile.peer.SendFrame(0, 0, Lend(1, 0));
  ExpectDataLoss(hostile.name, {"flags 16"});
}

TEST_F(HostileLenderTest, MemoryThatIsNotAsItShouldBeIsRefused) {
  Lender hostile = Start();
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{2048}, uint64_t{12288},
                               uint64_t{1} << 40, ~uint64_t{0}}) {
    EXPECT_THAT(Offer(hostile, kMemory, bytes, loans_.descriptors()),
                HasSubstr(absl::StrCat(bytes, " bytes; a power of two from")));
  }
  EXPECT_NE(Offer(hostile, kMemory, 2 * kLoansBytes, loans_.descriptors()), "");
  EXPECT_THAT(Offer(hostile, kMemory, kLoansBytes, {}),
              HasSubstr("its descriptors did not arrive"));
  EXPECT_NE(Offer(hostile, kMemory, kLoansBytes, {loans_.descriptors()[0]}),
            "");
  // Without seals the memory may be truncated under its reader, or written by
  // others.
  const int unsealed = MakeMemory(kLoansBytes, 0);
  EXPECT_NE(
      Offer(hostile, kMemory, kLoansBytes, {unsealed, loans_.descriptors()[1]}),
      "");
  close(unsealed);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  EXPECT_NE(Offer(hostile, kMemory, kLoansBytes, {null, null}), "");
  close(null);
  // The next offers get their own descriptors.
  EXPECT_EQ(Offer(hostile), "");
  hostile.lane->Write(0, Lend(1, 0), hostile.controls);
  Ring(hostile.peer);
  EXPECT_TRUE(served_->HasGotFrom(hostile.name)) << served_->Told();
}

TEST_F(HostileLenderTest, NoMoreMemoriesAreMappedThanTheLimit) {
  Lender hostile = Start();
  const size_t descriptors = OpenDescriptors();
  ASSERT_EQ(Offer(hostile, 1), "");
  const size_t mapped = sys_.mapped();
  for (uint32_t memory = 2; memory <= kInMax; ++memory) {
    ASSERT_EQ(Offer(hostile, memory), "") << memory;
  }
  const size_t most = sys_.mapped();
  EXPECT_EQ(most, mapped + 2 * (kInMax - 1));
  for (uint32_t memory = kInMax + 1; memory < kInMax + 50; ++memory) {
    EXPECT_THAT(Offer(hostile, memory), HasSubstr("more than 256 of them"));
  }
  EXPECT_EQ(Offer(hostile, 7), "") << "one that it has is replaced";
  EXPECT_EQ(sys_.mapped(), most);
  EXPECT_EQ(OpenDescriptors(), descriptors) << "descriptors are kept open";
  v1::Control closed;
  closed.mutable_loan_memory_closed()->set_memory(7);
  hostile.peer.SendControl(closed);
  EXPECT_EQ(Offer(hostile, kInMax + 1), "");
  EXPECT_EQ(sys_.mapped(), most);
}

TEST_F(HostileLenderTest, AnswersThatNobodyAskedForAreIgnored) {
  Lender hostile = Start();
  const std::string before = served_->Told();
  for (uint32_t memory = 0; memory < 1000; ++memory) {
    v1::Control taken;
    taken.mutable_loan_memory_taken()->set_memory(memory);
    if (memory % 2 == 0) taken.mutable_loan_memory_taken()->set_reason("no");
    hostile.peer.SendControl(taken);
    ++hostile.controls;
  }
  EXPECT_EQ(Offer(hostile), "");
  EXPECT_FALSE(absl::StrContains(served_->Told(), "has not mapped memory"));
  hostile.lane->Write(0, Lend(1, 0), hostile.controls);
  Ring(hostile.peer);
  EXPECT_TRUE(served_->HasGotFrom(hostile.name)) << served_->Told();
}

// A subscriber by hand, to which the node lends.
class HostileBorrowerTest : public HostileMemoryTest {
 protected:
  struct Borrower {
    std::string name;
    RawPeer peer;
    v1::Hello theirs;
  };

  v1::Hello Hello(const std::string& name, bool maps_loans) {
    v1::Hello hello = HelloFrom(name);
    hello.set_shared_memory(true);
    hello.set_maps_loans(maps_loans);
    return hello;
  }
  Borrower Greet(const v1::Hello& hello) {
    Borrower borrower{hello.node(), RawPeer(served_->path()), {}};
    const v1::Control answer = borrower.peer.SayHello(hello);
    EXPECT_TRUE(answer.has_hello());
    borrower.theirs = answer.hello();
    return borrower;
  }
  // Returns when its lane is open.
  std::vector<int> Subscribe(Borrower& borrower, uint32_t subscription,
                             bool* saw_loans = nullptr) {
    v1::Control subscribe = SubscribeOf(subscription);
    subscribe.mutable_subscribe()->set_delivery(v1::Subscribe::QUEUED);
    subscribe.mutable_subscribe()->set_name(absl::StrCat(subscription));
    borrower.peer.SendControl(subscribe);
    const auto open = borrower.peer.ReadUntil([&](const auto& record) {
      if (saw_loans != nullptr) {
        *saw_loans |= record.control.has_loan_memory_open();
      }
      return record.control.has_lane_open() &&
             record.control.lane_open().subscription() == subscription;
    });
    EXPECT_TRUE(open.has_value());
    return borrower.peer.TakeDescriptors();
  }
  // Publishes a loan, so that the node offers the memory.
  void Lend() {
    if (!lender_.has_value()) {
      lender_.emplace(*served_->bus().RawPublisher(MessageTypeOf<Note>(), ""));
    }
    Note note = MakeNote(1);
    note.set_blob(std::string(3000, 'b'));
    auto loan = lender_->Loan(note.ByteSizeLong());
    ASSERT_TRUE(loan.ok()) << loan.status();
    ASSERT_TRUE(note.SerializeToArray(loan->bytes().data(),
                                      static_cast<int>(loan->bytes().size())));
    const absl::Status sent = loan->Publish();
    EXPECT_TRUE(sent.ok()) << sent;
  }
  static void CloseAll(const std::vector<int>& descriptors) {
    for (const int descriptor : descriptors) close(descriptor);
  }
  void TearDown() override {
    lender_.reset();
    HostileMemoryTest::TearDown();
  }

  std::optional<RawPublisher> lender_;
};

TEST_F(HostileBorrowerTest, WhoDoesNotSayThatItMapsLoansIsToldOfNone) {
  Borrower old = Greet(Hello("old", /*maps_loans=*/false));
  EXPECT_TRUE(old.theirs.maps_loans());
  bool saw_loans = false;
  CloseAll(Subscribe(old, 1, &saw_loans));
  Lend();
  Lend();
  // What was on its way before the first lane opened arrives before the second
  // opens.
  for (const uint32_t subscription : {2, 3}) {
    const std::vector<int> descriptors =
        Subscribe(old, subscription, &saw_loans);
    EXPECT_EQ(descriptors.size(), 2u) << "it would take them for the lane's";
    CloseAll(descriptors);
  }
  EXPECT_FALSE(saw_loans);
}

TEST_F(HostileBorrowerTest, RefusalIsToldOnceHoweverOftenItIsSaid) {
  Borrower hostile = Greet(Hello("hostile", /*maps_loans=*/true));
  CloseAll(Subscribe(hostile, 1));
  Lend();
  const auto open = hostile.peer.ReadUntilControl(v1::Control::kLoanMemoryOpen);
  ASSERT_TRUE(open.has_value());
  CloseAll(hostile.peer.TakeDescriptors());
  v1::Control taken;
  taken.mutable_loan_memory_taken()->set_memory(
      open->control.loan_memory_open().memory());
  for (int i = 0; i < 100; ++i) {
    taken.mutable_loan_memory_taken()->set_reason(i % 2 == 0 ? "no" : "");
    hostile.peer.SendControl(taken);
  }
  CloseAll(Subscribe(hostile, 2));
  const std::vector<std::string> pieces =
      absl::StrSplit(served_->Told(), "has not mapped memory of loans");
  EXPECT_EQ(pieces.size(), 2u) << served_->Told();
}

TEST_F(HostileBorrowerTest, WhoComesBackWithMemoryThatEndedIsToldToLetGo) {
  {
    Borrower first = Greet(Hello("b", /*maps_loans=*/true));
    CloseAll(Subscribe(first, 1));
  }
  ASSERT_TRUE(served_->EventWith(ConnectionEvent::State::kDisconnected, "b")
                  .has_value());
  v1::Hello hello = Hello("b", /*maps_loans=*/true);
  // The node tells its incarnation in every Hello.
  hello.set_resume_incarnation(Greet(Hello("c", true)).theirs.incarnation());
  hello.add_resume_loan_memories(99);
  for (uint32_t memory = 1000; memory < 3000; ++memory) {
    hello.add_resume_loan_memories(memory);
  }
  Borrower again = Greet(hello);
  EXPECT_EQ(again.theirs.resume_incarnation(), 1u);
  const auto closed =
      again.peer.ReadUntilControl(v1::Control::kLoanMemoryClosed);
  ASSERT_TRUE(closed.has_value()) << served_->Told();
  EXPECT_EQ(closed->control.loan_memory_closed().memory(), 99u);
}

}  // namespace
}  // namespace mycelium::test
