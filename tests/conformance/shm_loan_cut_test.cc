// Loans that processes of one host read where they were written, while the
// connections between them break.
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "tests/conformance/shm_loan_fixture.h"
#include "tests/support/comes.h"
#include "tests/support/faulty_sys.h"

namespace mycelium::test {
namespace {

// The events that the writer was told.
class Watch {
 protected:
  BusOptions Watched(absl::Duration retain) {
    BusOptions options;
    options.limits.reconnect_max = absl::Milliseconds(10);
    options.settings.retain = retain;
    options.on_connection = [this](const ConnectionEvent& event) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (event.state == ConnectionEvent::State::kReconnected) ++reconnected_;
      if (event.state == ConnectionEvent::State::kGone) ++gone_;
      changed_.notify_all();
    };
    options.log = [this](LogLevel, absl::string_view line) {
      const std::lock_guard<std::mutex> lock(mutex_);
      log_.emplace_back(line);
      changed_.notify_all();
    };
    return options;
  }

  template <typename Condition>
  bool Await(Condition condition) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoSeconds(kLong), condition);
  }
  int LinesWith(const std::string& text) {
    int count = 0;
    for (const std::string& line : log_) count += absl::StrContains(line, text);
    return count;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int reconnected_ = 0;
  int gone_ = 0;
  std::vector<std::string> log_;
};

// Readers whose system calls fail as the test says.
class ShmLoanCutTest : public Watch, public ShmLoanTest {
 protected:
  explicit ShmLoanCutTest(absl::Duration retain = kLong)
      : ShmLoanTest(Watched(retain)) {}
  ~ShmLoanCutTest() override { readers_.clear(); }

  BusOptions Faulty() {
    BusOptions options;
    options.environment = &environment_;
    return options;
  }
  // Cuts the connections, and waits until they are back.
  void Cut() {
    const int before = [&] {
      const std::lock_guard<std::mutex> lock(mutex_);
      return reconnected_;
    }();
    sys_.CutConnections();
    EXPECT_TRUE(Await([&] { return reconnected_ > before; }));
  }

  FaultySys sys_;
  Environment environment_{sys_, Environment::Real().clock,
                           Environment::Real().waiter};
};

TEST_F(ShmLoanCutTest, EachArrivesOnceAndInOrderAcrossCuts) {
  constexpr uint64_t kMessages = 4000;
  constexpr uint64_t kCutEvery = 200;
  Reader& reader = AddReader(Faulty());
  reader.pull.emplace(*reader.bus->RawSubscriber(type_));
  AwaitSubscribers();
  ASSERT_TRUE(AreLoansTaken());
  std::thread reads([&] {
    for (uint64_t number = 0; number < kMessages && !HasFailure(); ++number) {
      ExpectNext(*reader.pull, number);
    }
  });
  uint64_t lent = 0;
  while (accepted_ < kMessages && !HasFailure()) {
    Loan loan = Borrow(accepted_);
    const bool in_place = loan.in_place();
    // It fails while the lane is full, and until a reader that was cut off is
    // back.
    EXPECT_TRUE(Comes([&] { return loan.Publish().ok(); }));
    lent += in_place ? 1 : 0;
    if (++accepted_ % kCutEvery == 0) Cut();
  }
  reads.join();
  EXPECT_GT(lent, kMessages / 2);
  EXPECT_TRUE(AreLoansTaken());
}

TEST_F(ShmLoanCutTest, MemoryOfPublishersThatEndDuringCutsIsClosed) {
  Reader& reader = AddReader(Faulty());
  reader.pull.emplace(*reader.bus->RawSubscriber(type_));
  AwaitSubscribers();
  ASSERT_TRUE(publisher_->Publish(std::vector<std::byte>(kSize)).ok());
  ++accepted_;
  ASSERT_TRUE(reader.pull->Receive(kLong).ok());  // The lane is mapped.
  const size_t before = MappedMemories();
  for (int round = 0; round < 20; ++round) {
    publisher_.emplace(*writer_->RawPublisher(type_, "", impatient_));
    AwaitSubscribers();
    ASSERT_TRUE(AreLoansTaken());
    ASSERT_TRUE(Publish(Borrow(round)).ok());
    ExpectNext(*reader.pull, round);
    (void)reader.pull->TryReceive();
    const int reconnected = reconnected_;
    sys_.CutConnections();
    publisher_.reset();
    EXPECT_TRUE(Await([&] { return reconnected_ > reconnected; }));
  }
  ExpectMapped(before);
}

TEST_F(ShmLoanCutTest, ReaderThatCannotMapGetsCopiesAndTheReasonIsTold) {
  Reader& reader = AddReader(Faulty());
  reader.pull.emplace(*reader.bus->RawSubscriber(type_));
  AwaitSubscribers();
  ASSERT_TRUE(publisher_->Publish(std::vector<std::byte>(kSize)).ok());
  ++accepted_;
  ASSERT_TRUE(reader.pull->Receive(kLong).ok());  // The lane is mapped.
  sys_.Fail("map", {-ENOMEM});
  ASSERT_TRUE(Publish(Borrow(0)).ok());
  EXPECT_TRUE(Await([&] {
    return LinesWith("has not mapped memory of loans, which are copied") == 1;
  }));
  EXPECT_EQ(sys_.Left("map"), 0u);
  ExpectNext(*reader.pull, 0);
  for (uint64_t number = 1; number < 200; ++number) {
    ASSERT_FALSE(Borrow(0).in_place());
    ASSERT_TRUE(Publish(Borrow(number)).ok());
    ExpectNext(*reader.pull, number);
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    EXPECT_EQ(LinesWith("has not mapped memory"), 1);
  }
  // The mapping may succeed on the next connection.
  Cut();
  EXPECT_TRUE(AreLoansTaken());
  ASSERT_TRUE(Publish(Borrow(200)).ok());
  ExpectNext(*reader.pull, 200);
}

// The writer gives such a reader up; the reader keeps what it reads.
class ShmLoanGivenUpTest : public ShmLoanCutTest {
 protected:
  ShmLoanGivenUpTest() : ShmLoanCutTest(absl::Milliseconds(50)) {}

  // Messages that the given-up reader got count as lost, too.
  void TearDown() override {
    for (const auto& reader : readers_) (void)reader->pull->TryReceive();
    EXPECT_TRUE(writer_->Flush(kLong).ok());
    Ledger sum;
    for (const FlowReport& flow : writer_->FlowReports()) sum += flow.ledger;
    EXPECT_EQ(sum.in_flight, 0u);
    EXPECT_GE(sum.accepted, accepted_);
    for (const auto& reader : readers_) {
      for (const FlowReport& flow : reader->bus->FlowReports()) {
        sum += flow.ledger;
      }
    }
    EXPECT_GE(sum.delivered + sum.dropped_total(), sum.accepted);
  }
};

TEST_F(ShmLoanGivenUpTest, WhatAReaderHasIsNotWrittenAgainAfterItWasGivenUp) {
  Reader& other = AddPullingReader();
  Reader& reader = AddReader(Faulty());
  reader.pull.emplace(*reader.bus->RawSubscriber(type_));
  AwaitSubscribers();
  ASSERT_TRUE(AreLoansTaken());
  for (uint64_t number = 0; number < 5; ++number) {
    ASSERT_TRUE(Publish(Borrow(number)).ok());
    ExpectNext(*other.pull, number);
  }
  const auto held = reader.pull->Receive(kLong);
  ASSERT_TRUE(held.ok()) << held.status();
  ASSERT_NE(FileAt(held->data()), 0u);
  // The reader's socket is gone, and the connections are cut.
  reader.endpoint.reset();
  sys_.CutConnections();
  ASSERT_TRUE(Await([&] { return gone_ > 0; }));
  for (uint64_t number = 5; number < 500; ++number) {
    ASSERT_TRUE(Publish(Borrow(number)).ok());
    ExpectNext(*other.pull, number);
  }
  EXPECT_TRUE(IsFilledWith(0, *held));
  for (uint64_t number = 1; number < 5; ++number) {
    ExpectNext(*reader.pull, number);
  }
}

}  // namespace
}  // namespace mycelium::test
