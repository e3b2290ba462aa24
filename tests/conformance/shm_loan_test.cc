// Loans that processes of one host read where they were written.
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/conformance/shm_loan_fixture.h"
#include "tests/support/notification.h"

namespace mycelium::test {
namespace {

TEST_F(ShmLoanTest, IsReadWhereItWasWrittenByAllSubscribers) {
  for (int i = 0; i < 3; ++i) AddPullingReader();
  ASSERT_TRUE(AreLoansTaken());
  Loan loan = Borrow(1);
  EXPECT_TRUE(loan.in_place());
  const uint64_t file = FileAt(loan.bytes().data());
  ASSERT_NE(file, 0u);
  ASSERT_TRUE(Publish(std::move(loan)).ok());
  for (const auto& reader : readers_) {
    const auto got = reader->pull->Receive(kLong);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(got->size(), kSize);
    EXPECT_TRUE(IsFilledWith(1, *got));
    EXPECT_EQ(FileAt(got->data()), file);
  }
}

// A message that is not lent is copied all the same, but only once if two
// subscribers share it.
TEST_F(ShmLoanTest, BytesThatSeveralReadAreCopiedOnce) {
  AddPullingReader();
  AddPullingReader();
  (void)AreLoansTaken();
  constexpr size_t kLarge = RawPublisher::kSharedBytesMin;
  // Loans of this size lie in another memory, and are taken there, too.
  const absl::Time end = absl::Now() + kLong;
  for (auto loan = publisher_->Loan(kLarge);
       !loan->in_place() && absl::Now() < end;) {
    std::this_thread::yield();
  }
  for (const auto publish :
       {&RawPublisher::PublishShared, &RawPublisher::TryPublishShared}) {
    for (const size_t size : {kLarge - 1, kLarge}) {
      std::vector<std::byte> bytes(size);
      FillWith(size, absl::MakeSpan(bytes));
      ASSERT_TRUE(((*publisher_).*publish)(bytes).ok());
      ++accepted_;
      std::set<uint64_t> files;
      for (const auto& reader : readers_) {
        const auto got = reader->pull->Receive(kLong);
        ASSERT_TRUE(got.ok()) << got.status();
        EXPECT_TRUE(IsFilledWith(size, *got));
        files.insert(FileAt(got->data()));
      }
      EXPECT_EQ(files.size(), size < kLarge ? 2u : 1u);
    }
    EXPECT_EQ(((*publisher_).*publish)(std::vector<std::byte>(64 << 20)).code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(ShmLoanTest, OneReaderGetsBytesThroughItsLane) {
  Reader& reader = AddPullingReader();
  std::vector<std::byte> bytes(RawPublisher::kSharedBytesMin);
  FillWith(1, absl::MakeSpan(bytes));
  size_t memories = 0;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(publisher_->PublishShared(bytes).ok());
    ++accepted_;
    ExpectNext(*reader.pull, 1);
    // The first memory comes when the lane is mapped.
    if (i == 0) memories = MappedMemories();
  }
  EXPECT_EQ(MappedMemories(), memories) << "memory was made for a loan";
}

TEST_F(ShmLoanTest, InlineHandlerReadsItThereToo) {
  uint64_t file = 0;
  bool is_right = false;
  Notification handled;
  Reader& reader = AddReader();
  auto handle = *reader.bus->SubscribeRaw(
      type_, [&](Bytes bytes, const MessageInfo& info) {
        is_right = IsFilledWith(1, bytes) && info.sequence() == 1;
        file = FileAt(bytes.data());
        handled.Notify();
      });
  AwaitSubscribers();
  ASSERT_TRUE(AreLoansTaken());
  Loan loan = Borrow(1);
  const uint64_t written = FileAt(loan.bytes().data());
  ASSERT_TRUE(Publish(std::move(loan)).ok());
  ASSERT_TRUE(handled.WaitForNotificationWithTimeout(kLong));
  EXPECT_TRUE(is_right);
  EXPECT_EQ(file, written);
}

TEST_F(ShmLoanTest, SeveralAreOpenAndPublishedInAnyOrderOrNotAtAll) {
  Reader& reader = AddPullingReader();
  ASSERT_TRUE(AreLoansTaken());
  std::vector<Loan> loans;
  for (uint64_t number = 0; number < 6; ++number) {
    loans.push_back(Borrow(number));
  }
  std::set<const std::byte*> places;
  for (Loan& loan : loans) places.insert(loan.bytes().data());
  EXPECT_EQ(places.size(), loans.size());
  for (const size_t i : {3, 0, 4, 2}) {
    ASSERT_TRUE(Publish(std::move(loans[i])).ok());
  }
  const std::vector<std::byte> plain(kSize, std::byte{0});
  ASSERT_TRUE(publisher_->Publish(plain).ok());
  ++accepted_;
  loans.clear();
  for (const uint64_t number : {3, 0, 4, 2}) ExpectNext(*reader.pull, number);
  const auto got = reader.pull->Receive(kLong);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, Bytes(plain));
}

TEST_F(ShmLoanTest, LaneBoundsLoansAsItDoesBytes) {
  Reader& reader = AddPullingReader();
  ASSERT_TRUE(AreLoansTaken());
  absl::Status sent;
  while ((sent = Publish(Borrow(accepted_))).ok() &&
         accepted_ < kCapacity / kSize + 1) {
  }
  EXPECT_EQ(sent.code(), absl::StatusCode::kResourceExhausted) << sent;
  EXPECT_GE(accepted_, kLaneHolds);
  for (uint64_t number = 0; number < accepted_; ++number) {
    ExpectNext(*reader.pull, number);
  }
}

// A message that the subscriber holds keeps its place, while other messages
// take turns.
TEST_F(ShmLoanTest, MemoryIsUsedAgainWhenTheLastReaderHasFinished) {
  Reader& slow = AddPullingReader();
  Reader& quick = AddPullingReader();
  ASSERT_TRUE(AreLoansTaken());
  ASSERT_TRUE(Publish(Borrow(0)).ok());
  ExpectNext(*quick.pull, 0);
  const auto held = slow.pull->Receive(kLong);
  ASSERT_TRUE(held.ok()) << held.status();
  ASSERT_NE(FileAt(held->data()), 0u);
  while (accepted_ < kLaneHolds) {
    ASSERT_TRUE(Publish(Borrow(accepted_)).ok());
    ExpectNext(*quick.pull, accepted_ - 1);
  }
  EXPECT_TRUE(IsFilledWith(0, *held));
  for (uint64_t number = 1; number < accepted_; ++number) {
    ExpectNext(*slow.pull, number);
  }
  // Once both readers keep up, no further memory is needed.
  const size_t memories = MappedMemories();
  for (uint64_t end = accepted_ + 500; accepted_ < end;) {
    ASSERT_TRUE(Publish(Borrow(accepted_)).ok());
    ExpectNext(*quick.pull, accepted_ - 1);
    ExpectNext(*slow.pull, accepted_ - 1);
  }
  EXPECT_EQ(MappedMemories(), memories);
}

TEST_F(ShmLoanTest, MemoryGoesWithItsPublisher) {
  Reader& reader = AddPullingReader();
  ASSERT_TRUE(publisher_->Publish(std::vector<std::byte>(kSize)).ok());
  ++accepted_;
  ASSERT_TRUE(reader.pull->Receive(kLong).ok());  // The lane is mapped.
  const size_t before = MappedMemories();
  ASSERT_TRUE(AreLoansTaken());
  ASSERT_TRUE(Publish(Borrow(0)).ok());
  const auto held = reader.pull->Receive(kLong);
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_GT(MappedMemories(), before);
  publisher_.reset();
  EXPECT_TRUE(IsFilledWith(0, *held));
  (void)reader.pull->TryReceive();
  // A doorbell tells the writer of the end, and the writer tells the reader.
  ExpectMapped(before);
}

TEST_F(ShmLoanTest, MemoryGoesWithItsPublisherWhenAllWasReadBefore) {
  Reader& reader = AddPullingReader();
  ASSERT_TRUE(publisher_->Publish(std::vector<std::byte>(kSize)).ok());
  ++accepted_;
  ASSERT_TRUE(reader.pull->Receive(kLong).ok());  // The lane is mapped.
  const size_t before = MappedMemories();
  ASSERT_TRUE(AreLoansTaken());
  ASSERT_TRUE(Publish(Borrow(0)).ok());
  ExpectNext(*reader.pull, 0);
  (void)reader.pull->TryReceive();
  ASSERT_TRUE(writer_->Flush(kLong).ok());
  EXPECT_GT(MappedMemories(), before);
  publisher_.reset();
  ExpectMapped(before);
}

// A larger loan needs larger places; the earlier places go when they are free.
TEST_F(ShmLoanTest, LoansOfAnySizeFollowOneAnother) {
  Reader& reader = AddPullingReader();
  for (const size_t size : {5000, 1024, 20'000, 2000, 30'000, 1, 1023, 9000}) {
    const bool is_lent = size >= Payload::kHandOverBytesMin;
    std::optional<Loan> loan = Borrow(accepted_, size);
    const absl::Time end = absl::Now() + kLong;
    while (is_lent && !loan->in_place() && absl::Now() < end) {
      std::this_thread::yield();
    }
    EXPECT_EQ(loan->in_place(), is_lent) << size;
    ASSERT_TRUE(Publish(*std::move(loan)).ok());
    const auto got = reader.pull->Receive(kLong);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(got->size(), size);
    EXPECT_TRUE(IsFilledWith(accepted_ - 1, *got));
  }
}

TEST_F(ShmLoanTest, LossyLaneCopiesThem) {
  SubscriberOptions options;
  options.overflow = Overflow::kDropOldest;
  options.depth = 4;
  Reader& reader = AddPullingReader(options);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(Publish(Borrow(accepted_)).ok());
  EXPECT_FALSE(Borrow(0).in_place());
  uint64_t last = 0;
  while (last < accepted_) {
    const auto got = reader.pull->Receive(kLong);
    ASSERT_TRUE(got.ok()) << got.status();
    last = reader.pull->info().sequence();
    EXPECT_TRUE(IsFilledWith(last - 1, *got)) << "message " << last;
  }
}

// One subscriber gets over its socket, as bytes, what the others read in place.
TEST_F(ShmLoanTest, SubscriberWithoutSharedMemoryGetsACopy) {
  Reader& shares = AddPullingReader();
  ASSERT_TRUE(AreLoansTaken());
  Reader& socket = *readers_.emplace_back(std::make_unique<Reader>());
  socket.bus = Open("socket");
  auto endpoint = BindUnixEndpoint(dir_.file("socket"), *socket.bus);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  ASSERT_TRUE(DialUnixEndpoint(dir_.file("socket"), *writer_).ok());
  socket.pull.emplace(*socket.bus->RawSubscriber(type_));
  AwaitSubscribers();
  for (uint64_t number = 0; number < 50; ++number) {
    Loan loan = Borrow(number);
    EXPECT_FALSE(loan.in_place());
    const uint64_t file = FileAt(loan.bytes().data());
    ASSERT_TRUE(Publish(std::move(loan)).ok());
    const auto got = shares.pull->Receive(kLong);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_TRUE(IsFilledWith(number, *got));
    EXPECT_EQ(FileAt(got->data()), file);
    ExpectNext(*socket.pull, number);
  }
}

}  // namespace
}  // namespace mycelium::test
