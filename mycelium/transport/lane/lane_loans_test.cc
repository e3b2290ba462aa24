#include "mycelium/transport/lane/lane_loans.h"

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/base/shared_word.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/transport/lane/fake_shared_memory.h"
#include "mycelium/transport/lane/lane.h"

namespace mycelium {
namespace {

using ::mycelium::test::FakeSharedMemory;
using ::mycelium::test::MakeLoanMemory;
using Answer = LaneLoans::Answer;

constexpr size_t kCapacity = 16384;
constexpr size_t kSlotBytes = 4096;
// Not a multiple of eight, and four of them leave a pad at the ring's end.
constexpr size_t kSize = 3901;
constexpr uint32_t kMemory = 7;

class AskingDoorbell final : public Lane::Doorbell {
 public:
  void OnCommit(Lane&) override {}
  void OnLoanMemory(const Lane&, const std::shared_ptr<LoanMemory>&) override {
    ++asked;
  }
  std::atomic<int> asked{0};
};

// A lane whose reader maps it, and loans in one memory.
class LaneLoansTest : public ::testing::Test {
 protected:
  LaneLoansTest() {
    Lane::Options options;
    options.name = "a lane";
    options.capacity_bytes = kCapacity;
    options.frame_bytes_max = kCapacity;
    options.shared = std::make_shared<FakeSharedMemory>(kCapacity);
    options.control_count = &control_count_;
    lane_ = *Lane::Create(Environment::Real(), options, &doorbell_);
    lane_->SetMapped(true);
  }

  void AnswerYes() { lane_->loans().SetAnswer(kMemory, Answer::kYes); }

  // Publishes loan `number`, in one of four places. Its owner can be watched.
  bool Publish(uint64_t number, size_t size = kSize, bool with_time = false) {
    const LoanPlace place = {memory_, number % 4 * kSlotBytes};
    const auto bytes = memory_->bytes().subspan(place.offset, size);
    const auto owner = std::make_shared<int>(0);
    if (fills_) Fill(number, bytes);
    owners_.push_back(owner);
    const std::shared_ptr<const void> shared = owner;
    Payload payload = Payload::Bytes(type_, bytes, &shared);
    payload.place = &place;
    FrameFields fields;
    fields.flags = with_time ? kFramePublishTime : 0;
    fields.publish_time_ns = static_cast<int64_t>(number);
    if (lane_->TryClaim(EncodedFrameBytes(fields, size)) !=
        Lane::ClaimResult::kClaimed) {
      return false;
    }
    const bool refers = lane_->TakesLoan(place);
    const absl::Span<std::byte> room = lane_->Room();
    if (refers) fields.flags |= kFrameElsewhere;
    const absl::Span<std::byte> payload_room =
        EncodeFrame(fields, lane_->next_sequence(), size, room);
    if (refers) {
      lane_->PutLoan(payload, payload_room);
    } else {
      CopyToShared(payload_room.data(), bytes.data(), size);
    }
    lane_->Commit();
    return true;
  }

  static std::byte ByteOf(uint64_t number, size_t i) {
    return static_cast<std::byte>(31 * number + i);
  }
  static void Fill(uint64_t number, absl::Span<std::byte> bytes) {
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = ByteOf(number, i);
  }

  // The frame at `from` or behind a pad there; its end.
  uint64_t FrameAt(uint64_t from, FrameView* view) {
    const Lane::Run run = lane_->CommittedFrom(from);
    EXPECT_EQ(DecodeFrame(run.bytes, kCapacity, kFrameFlagsInSharedRing, view),
              FrameVerdict::kOk);
    return run.position + AlignedFrameBytes(view->header.frame_bytes);
  }
  void ExpectBytes(const FrameView& view, uint64_t number, size_t size) {
    EXPECT_EQ(view.header.flags & kFrameElsewhere, 0);
    ASSERT_EQ(view.payload.size(), size);
    for (size_t i = 0; i < size; ++i) {
      ASSERT_EQ(view.payload[i], ByteOf(number, i)) << number << " at " << i;
    }
  }
  bool RefersAt(uint64_t from) {
    FrameView view;
    FrameAt(from, &view);
    return (view.header.flags & kFrameElsewhere) != 0;
  }
  void Release(uint64_t position) {
    lane_->ring_positions().released.store(position);
    lane_->NotifyReleased();
  }
  bool IsOwned(size_t i) const { return !owners_[i].expired(); }

  const MessageType type_ = RawMessageType("bytes");
  std::atomic<uint32_t> control_count_{0};
  AskingDoorbell doorbell_;
  const std::shared_ptr<LoanMemory> memory_ = MakeLoanMemory(kMemory, 16384);
  std::vector<std::weak_ptr<int>> owners_;
  bool fills_ = true;  // Loans that are published.
  std::unique_ptr<Lane> lane_;
};

TEST_F(LaneLoansTest, ReaderIsAskedOnceAndUntilItHasAnsweredLoansAreCopied) {
  ASSERT_TRUE(Publish(1));
  ASSERT_TRUE(Publish(2));
  lane_->OfferLoans(memory_);
  EXPECT_EQ(doorbell_.asked, 1);
  FrameView view;
  const uint64_t second = FrameAt(0, &view);
  ExpectBytes(view, 1, kSize);
  const uint64_t third = FrameAt(second, &view);
  ExpectBytes(view, 2, kSize);
  AnswerYes();
  ASSERT_TRUE(Publish(3));
  EXPECT_TRUE(RefersAt(third));
  EXPECT_FALSE(IsOwned(0));
  EXPECT_TRUE(IsOwned(2));
}

TEST_F(LaneLoansTest, ReferenceSaysWhichMemoryAndWhere) {
  AnswerYes();
  ASSERT_TRUE(Publish(3));
  FrameView view;
  FrameAt(0, &view);
  ASSERT_EQ(view.payload.size(), kSize);
  LoanReference reference;
  CopyFromShared(&reference, view.payload.data(), sizeof reference);
  EXPECT_EQ(reference.memory, kMemory);
  EXPECT_EQ(reference.reserved, 0u);
  EXPECT_EQ(reference.offset, 3 * kSlotBytes);
}

TEST_F(LaneLoansTest, SmallLoanIsCopied) {
  AnswerYes();
  ASSERT_TRUE(Publish(1, 1000));
  FrameView view;
  FrameAt(0, &view);
  ExpectBytes(view, 1, 1000);
}

TEST_F(LaneLoansTest, LoanIsOwnedUntilItsFrameIsReleasedToTheEnd) {
  AnswerYes();
  ASSERT_TRUE(Publish(0));
  ASSERT_TRUE(Publish(1));
  FrameView view;
  const uint64_t end = FrameAt(0, &view);
  Release(end - kFrameAlignment);
  EXPECT_TRUE(IsOwned(0));
  Release(end);
  EXPECT_FALSE(IsOwned(0));
  EXPECT_TRUE(IsOwned(1));
  EXPECT_TRUE(lane_->loans().any());
  Release(lane_->committed());
  EXPECT_FALSE(IsOwned(1));
  EXPECT_FALSE(lane_->loans().any());
  EXPECT_FALSE(memory_->spoiled());
}

TEST_F(LaneLoansTest, NextClaimLetsGoOfWhatIsReleased) {
  AnswerYes();
  ASSERT_TRUE(Publish(0));
  lane_->ring_positions().released.store(lane_->committed());
  EXPECT_TRUE(IsOwned(0));
  ASSERT_TRUE(Publish(1));
  EXPECT_FALSE(IsOwned(0));
}

TEST_F(LaneLoansTest, FramesGetTheirBytesBackWhenTheReaderRefusesTheLane) {
  AnswerYes();
  ASSERT_TRUE(Publish(0));
  ASSERT_TRUE(Publish(1));
  ASSERT_TRUE(Publish(2));
  ASSERT_TRUE(Publish(3, kSize, /*with_time=*/true));
  FrameView view;
  const uint64_t third = FrameAt(FrameAt(0, &view), &view);
  Release(third);
  // Behind a pad, at the beginning of the memory.
  ASSERT_TRUE(Publish(4, 3000, /*with_time=*/true));
  ASSERT_GT(lane_->committed(), kCapacity);
  lane_->SetMapped(false);
  EXPECT_FALSE(lane_->loans().any());
  for (size_t i = 0; i < owners_.size(); ++i) EXPECT_FALSE(IsOwned(i)) << i;
  const uint64_t fourth = FrameAt(third, &view);
  ExpectBytes(view, 2, kSize);
  const uint64_t fifth = FrameAt(fourth, &view);
  ExpectBytes(view, 3, kSize);
  EXPECT_EQ(view.publish_time_ns, 3);
  FrameAt(fifth, &view);
  ExpectBytes(view, 4, 3000);
  EXPECT_EQ(view.publish_time_ns, 4);
  // What comes now goes over the socket.
  Release(lane_->committed());
  const uint64_t sixth = lane_->committed();
  ASSERT_TRUE(Publish(5));
  FrameAt(sixth, &view);
  ExpectBytes(view, 5, kSize);
}

TEST_F(LaneLoansTest, NextReaderGetsBytesAndIsAskedAnew) {
  ASSERT_TRUE(Publish(0));
  AnswerYes();
  ASSERT_TRUE(Publish(1));
  ASSERT_TRUE(Publish(2));
  FrameView view;
  const uint64_t second = FrameAt(0, &view);
  ASSERT_TRUE(RefersAt(second));
  std::vector<FrameHeader> lost;
  ASSERT_TRUE(lane_->RenewReader(second, &lost).ok());
  EXPECT_TRUE(lost.empty());
  const uint64_t third = FrameAt(second, &view);
  ExpectBytes(view, 1, kSize);
  FrameAt(third, &view);
  ExpectBytes(view, 2, kSize);
  Release(lane_->committed());
  EXPECT_EQ(doorbell_.asked, 1);
  const uint64_t fourth = lane_->committed();
  ASSERT_TRUE(Publish(3));
  EXPECT_EQ(doorbell_.asked, 2);
  EXPECT_FALSE(RefersAt(fourth));
}

// As Loan::in_place() says.
TEST_F(LaneLoansTest, OneKibibyteIsReadWhereItLies) {
  AnswerYes();
  for (const size_t size : {1024u, 1025u, 1048u, 1049u}) {
    const uint64_t at = lane_->committed();
    ASSERT_TRUE(Publish(1, size));
    EXPECT_TRUE(RefersAt(at)) << size;
    Release(lane_->committed());
  }
  const uint64_t at = lane_->committed();
  ASSERT_TRUE(Publish(1, 1023));
  EXPECT_FALSE(RefersAt(at));
}

// The reader may still read what lies before a frame that is damaged.
TEST_F(LaneLoansTest, DamagedFrameSpoilsTheMemoryOfThoseBeforeIt) {
  AnswerYes();
  ASSERT_TRUE(Publish(0));
  const uint64_t second = lane_->committed();
  ASSERT_TRUE(Publish(1));
  SharedWordAt<uint32_t>(const_cast<std::byte*>(lane_->ring_memory().data()) +
                         second)
      .store(0, std::memory_order_relaxed);
  std::vector<FrameHeader> lost;
  ASSERT_TRUE(lane_->RenewReader(0, &lost).ok());
  EXPECT_EQ(lost.size(), 2u);
  EXPECT_TRUE(memory_->spoiled());
}

// Others lie by now where a frame began of which it has released a part.
TEST_F(LaneLoansTest, PartOfAFrameThatWasReleasedIsNotWrittenOver) {
  AnswerYes();
  for (uint64_t number = 0; number < 4; ++number) {
    ASSERT_TRUE(Publish(number));
  }
  FrameView view;
  const uint64_t second = FrameAt(0, &view);
  lane_->ring_positions().released.store(second + AlignedFrameBytes(2000));
  ASSERT_TRUE(Publish(4, 3000));
  ASSERT_TRUE(Publish(5, 1000));
  const uint64_t last = lane_->committed();
  ASSERT_TRUE(Publish(6, 500));
  lane_->SetMapped(false);
  EXPECT_TRUE(memory_->spoiled());
  FrameAt(last, &view);
  ExpectBytes(view, 6, 500);
  EXPECT_EQ(SharedWordAt<uint32_t>(lane_->ring_memory().data() +
                                   lane_->committed() % kCapacity)
                .load(std::memory_order_relaxed),
            0u);
}

// That one may be alive, and read what it had begun to.
TEST_F(LaneLoansTest, MemoryThatALostReaderMayReadIsSpoiled) {
  AnswerYes();
  ASSERT_TRUE(Publish(0));
  std::vector<FrameHeader> lost;
  ASSERT_TRUE(lane_->RenewReader(0, &lost).ok());
  EXPECT_TRUE(lost.empty());
  EXPECT_TRUE(memory_->spoiled());
}

TEST_F(LaneLoansTest, MemoryOfADiscardedLaneIsSpoiledIfSomethingWasUnread) {
  AnswerYes();
  ASSERT_TRUE(Publish(0));
  lane_->Discard();
  EXPECT_TRUE(memory_->spoiled());
  EXPECT_FALSE(IsOwned(0));
}

TEST_F(LaneLoansTest, MemoryOfALaneThatIsReadToTheEndStaysGood) {
  AnswerYes();
  ASSERT_TRUE(Publish(0));
  lane_->ring_positions().released.store(lane_->committed());
  lane_->Discard();
  EXPECT_FALSE(memory_->spoiled());
  EXPECT_FALSE(IsOwned(0));
}

TEST_F(LaneLoansTest, RefusedMemoryIsAskedAboutAgainAndTakenIsNot) {
  LaneLoans& loans = lane_->loans();
  loans.SetAnswer(1, Answer::kYes);
  loans.SetAnswer(2, Answer::kNo);
  loans.ForgetRefused();
  EXPECT_EQ(loans.AnswerFor(1), Answer::kYes);
  EXPECT_EQ(loans.AnswerFor(2), Answer::kNotAsked);
  loans.SetAnswer(1, Answer::kNotAsked);
  EXPECT_EQ(loans.AnswerFor(1), Answer::kNotAsked);
}

TEST_F(LaneLoansTest, LaneThatIsNotMappedOrClosedAsksNobody) {
  lane_->SetMapped(false);
  lane_->OfferLoans(memory_);
  EXPECT_EQ(lane_->loans().AnswerFor(kMemory), Answer::kNotAsked);
  lane_->SetMapped(true);
  lane_->Close();
  lane_->OfferLoans(memory_);
  EXPECT_EQ(doorbell_.asked, 0);
}

// Whoever sends what is in the ring after SetMapped(false) finds bytes there,
// whatever is published meanwhile.
TEST_F(LaneLoansTest, NothingRefersToALoanOnceTheLaneIsNotMapped) {
  constexpr uint64_t kMessages = 2000;
  for (uint64_t number = 0; number < 4; ++number) {
    Fill(number, memory_->bytes().subspan(number * kSlotBytes, 1500));
  }
  fills_ = false;  // They stay what they are, whoever reads them.
  std::atomic<bool> stop{false};
  std::atomic<bool> is_done{false};
  std::thread publisher([&] {
    for (uint64_t number = 0; number < kMessages && !stop;) {
      if (Publish(number % 4, 1500)) {
        ++number;
      } else {
        std::this_thread::yield();
      }
    }
    is_done = true;
  });
  uint64_t seen = 0;
  uint64_t referred = 0;
  for (uint64_t at = 0; seen < kMessages && !HasFailure();) {
    lane_->SetMapped(true);
    AnswerYes();
    // Until there is one, unless no more come or there is no room.
    while (!lane_->loans().any() && !is_done &&
           lane_->committed() - at < kCapacity / 2) {
      std::this_thread::yield();
    }
    referred += lane_->loans().any() ? 1 : 0;
    lane_->SetMapped(false);
    while (lane_->committed() > at) {
      FrameView view;
      at = FrameAt(at, &view);
      EXPECT_EQ(view.header.lane_sequence, ++seen);
      ExpectBytes(view, (seen - 1) % 4, 1500);
      EXPECT_TRUE(lane_->Release(at));
    }
  }
  stop = true;
  publisher.join();
  EXPECT_GT(referred, 0u);
}

}  // namespace
}  // namespace mycelium
