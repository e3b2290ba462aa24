#ifndef TESTS_CONFORMANCE_SHM_LOAN_FIXTURE_H_
#define TESTS_CONFORMANCE_SHM_LOAN_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/shm_endpoint.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/support/mapped_files.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {

using Bytes = absl::Span<const std::byte>;

inline constexpr size_t kCapacity = 64 << 10;
inline constexpr size_t kSize = 5000;
// So many messages fit into a lane, whatever lies in between.
inline constexpr size_t kLaneHolds = kCapacity / (kSize + 200) - 1;

// The inode of the file that is mapped where `address` is; 0 if none is.
inline uint64_t FileAt(const void* address) {
  return MappedFileAt(address).inode;
}

inline void FillWith(uint64_t number, absl::Span<std::byte> bytes) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(31 * number + i);
  }
}

inline bool IsFilledWith(uint64_t number, Bytes bytes) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != static_cast<std::byte>(31 * number + i)) return false;
  }
  return true;
}

// A node that publishes and nodes that receive, linked by shared memory with
// lanes of kCapacity. All are in this process, and do not know it.
class ShmLoanTest : public ::testing::Test {
 protected:
  explicit ShmLoanTest(const BusOptions& options = {}) {
    writer_ = Open("writer", options);
    publisher_.emplace(*writer_->RawPublisher(type_, "", impatient_));
  }

  static std::unique_ptr<MessageBus> Open(const std::string& node,
                                          BusOptions options = {}) {
    options.node = node;
    options.settings.publish_timeout = kLong;
    return *MessageBus::Create(options);
  }

  struct Reader {
    std::unique_ptr<MessageBus> bus;
    std::optional<ShmEndpointHandle> endpoint;
    std::optional<RawSubscriber> pull;
  };
  Reader& AddReader(const BusOptions& options = {}) {
    Reader& reader = *readers_.emplace_back(std::make_unique<Reader>());
    const std::string name = absl::StrCat("reader", readers_.size());
    reader.bus = Open(name, options);
    reader.endpoint.emplace(*BindShmEndpoint(dir_.file(name), *reader.bus,
                                             std::nullopt, kCapacity));
    EXPECT_TRUE(DialShmEndpoint(dir_.file(name), *writer_).ok());
    return reader;
  }
  Reader& AddPullingReader(const SubscriberOptions& options = {}) {
    Reader& reader = AddReader();
    reader.pull.emplace(*reader.bus->RawSubscriber(type_, options));
    AwaitSubscribers();
    return reader;
  }
  void AwaitSubscribers() {
    ASSERT_TRUE(publisher_->WaitForSubscribers(readers_.size(), kLong).ok());
  }

  // Waits until all readers have the memory of loans.
  bool AreLoansTaken() {
    const Loan loan = Borrow(0);
    const absl::Time end = absl::Now() + kLong;
    while (!loan.in_place() && absl::Now() < end) std::this_thread::yield();
    return loan.in_place();
  }

  Loan Borrow(uint64_t number, size_t size = kSize) {
    auto loan = publisher_->Loan(size);
    EXPECT_TRUE(loan.ok()) << loan.status();
    FillWith(number, loan->bytes());
    return *std::move(loan);
  }
  absl::Status Publish(Loan loan) {
    absl::Status sent = loan.Publish();
    if (sent.ok()) ++accepted_;
    return sent;
  }

  void ExpectNext(RawSubscriber& pull, uint64_t number) {
    const auto got = pull.Receive(kLong);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_TRUE(IsFilledWith(number, *got)) << "message " << number;
  }

  // Waits until that many are mapped.
  static void ExpectMapped(size_t memories) {
    const absl::Time end = absl::Now() + kLong;
    while (MappedMemories() != memories && absl::Now() < end) {
      std::this_thread::yield();
    }
    EXPECT_EQ(MappedMemories(), memories);
  }

  // Each message counts once for each reader.
  void TearDown() override {
    for (const auto& reader : readers_) {
      if (reader->pull.has_value()) (void)reader->pull->TryReceive();
    }
    EXPECT_TRUE(writer_->Flush(kLong).ok());
    Ledger sum;
    for (const FlowReport& flow : writer_->FlowReports()) sum += flow.ledger;
    for (const auto& reader : readers_) {
      for (const FlowReport& flow : reader->bus->FlowReports()) {
        sum += flow.ledger;
      }
    }
    EXPECT_EQ(sum.accepted, accepted_ * readers_.size());
    EXPECT_GT(sum.delivered, 0u);
    EXPECT_EQ(sum.in_flight, 0u);
    EXPECT_TRUE(sum.Balances());
  }

  const MessageType type_ = RawMessageType("bytes");
  const ShortTempDir dir_;
  PublisherOptions impatient_ = [] {
    PublisherOptions options;
    options.publish_timeout = absl::ZeroDuration();
    return options;
  }();
  std::vector<std::unique_ptr<Reader>> readers_;
  std::unique_ptr<MessageBus> writer_;
  std::optional<RawPublisher> publisher_;
  uint64_t accepted_ = 0;
};

}  // namespace mycelium::test

#endif  // TESTS_CONFORMANCE_SHM_LOAN_FIXTURE_H_
