#include "tests/faults/scenario.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kOpenTimeout = absl::Seconds(5);
constexpr absl::Duration kTimeout = absl::Seconds(20);
// Publishing waits no longer than publish_timeout, and no other call waits.
constexpr absl::Duration kNoWait = absl::ZeroDuration();
constexpr absl::Duration kPublishTimeout = absl::Seconds(1);
constexpr uint64_t kLargeBytes = 600'000;
constexpr size_t kLoanBytes = 16 << 10;
// The topic of ticks, and how many of the newest are kept.
constexpr char kTicks[] = "ticks";
constexpr int kTicksKept = 2;

MessageType LoanType() { return RawMessageType("loans"); }

constexpr char kTopology[] = R"(
[[nodes]]
name = "alpha-node"
services = ["alpha"]

[[nodes]]
name = "beta-node"
services = ["beta"]

[[routes]]
from = "*"
to = "*"
)";

size_t OpenDescriptors() {
  size_t count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/self/fd")) {
    (void)entry;
    ++count;
  }
  return count;
}

}  // namespace

int64_t ScenarioSys::GetRandom(void* bytes, size_t bytes_count) {
  const int64_t result = FaultySys::GetRandom(bytes, bytes_count);
  if (result < 0) return result;
  auto* const out = static_cast<unsigned char*>(bytes);
  for (int64_t i = 0; i < result; ++i) {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    out[i] = static_cast<unsigned char>(random_ >> 56);
  }
  return result;
}

Scenario::Scenario(ScenarioSys& sys, const std::string& transport, int fault)
    : sys_(sys), fault_(fault), world_(sys), environment_{sys, world_, world_} {
  std::ofstream(dir_.file("topology.toml"))
      << kTopology << "transport = \"" << transport << "\"\n";
  setenv("XDG_RUNTIME_DIR", dir_.path().c_str(), /*overwrite=*/1);
  world_.SetOthers([this] { return RunAll(); });
}

Scenario::~Scenario() { unsetenv("XDG_RUNTIME_DIR"); }

void Scenario::Run() {
  const size_t descriptors = OpenDescriptors();
  if (OpenBuses() && Subscribe() && Advertise()) {
    PublishLoan(1);
    PublishTicks(1, 5);
    Exchange(1, 6);
    PublishLarge(7);
    ExpectAllArrive();
    PublishLoan(2);
    PublishTicks(6, 9);
    PublishLarge(8);  // Not all of it fits: it is under way.
    sys_.CutConnections();
    PublishLoan(3);
    PublishTicks(10, 12);
    Exchange(9, 12);
    ExpectAllArrive();
    Exchange(13, 14);
    ExpectAllArrive();
    ExpectLedgerTrue();
  }
  Shutdown();
  EXPECT_EQ(OpenDescriptors(), descriptors) << "descriptors leak";
  EXPECT_EQ(sys_.mapped(), 0u) << "mappings leak";
}

bool Scenario::Insist(absl::string_view what, absl::Duration timeout,
                      const std::function<absl::Status()>& call) {
  absl::Status status;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const TimeNs deadline = DeadlineAfter(world_.NowNs(), timeout);
    status = call();
    EXPECT_LE(world_.NowNs(), deadline) << what << " is late: " << status;
    if (status.ok()) return true;
    ++calls_failed_;
    EXPECT_TRUE(sys_.fired()) << what << ": " << status;
    ExpectSaysWhy(what, status);
  }
  ADD_FAILURE() << what << " failed again: " << status;
  return false;
}

void Scenario::ExpectSaysWhy(absl::string_view what,
                             const absl::Status& status) const {
  EXPECT_THAT(std::string(status.message()),
              testing::EndsWith(absl::StrCat(": ", std::strerror(fault_))))
      << what;
  EXPECT_GT(status.message().size(), std::strlen(std::strerror(fault_)) + 2)
      << what << " says not where: " << status;
  // These are the errors that a call of the bus reports at all; others cost a
  // connection, or nothing.
  switch (fault_) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case ENOSPC:
    case ENOLCK:
    case EAGAIN:
      EXPECT_TRUE(absl::IsResourceExhausted(status)) << what << ": " << status;
      break;
    case EIO:
      EXPECT_TRUE(absl::IsInternal(status)) << what << ": " << status;
      break;
    default:
      ADD_FAILURE() << what << " is not to tell of " << std::strerror(fault_)
                    << ": " << status;
  }
}

bool Scenario::OpenBuses() {
  BusOptions options;
  options.poll = PollMode::kCaller;
  options.wait = WaitMode::kBlock;
  options.environment = &environment_;
  options.log = [](LogLevel, absl::string_view) {};
  const auto open = [&](const std::string& service,
                        std::unique_ptr<MessageBus>* bus) {
    return Insist(absl::StrCat("FromTopology(", service, ")"), kOpenTimeout,
                  [&] {
                    auto opened = MessageBus::FromTopology(
                        dir_.file("topology.toml"), service, options);
                    if (!opened.ok()) return opened.status();
                    *bus = *std::move(opened);
                    return absl::OkStatus();
                  });
  };
  if (!open("alpha", &alpha_) || !open("beta", &beta_)) return false;
  // The nodes keep these descriptors readable, which takes system calls.
  (void)alpha_->poll_descriptor();
  (void)beta_->poll_descriptor();
  return true;
}

bool Scenario::Subscribe() {
  const bool notes = Insist("Subscribe(notes)", kNoWait, [&] {
    auto handle =
        beta_->Subscribe<Note>([this](const Note& note, const MessageInfo&) {
          handled_.push_back(note.id());
        });
    if (!handle.ok()) return handle.status();
    notes_handle_ = *std::move(handle);
    return absl::OkStatus();
  });
  const bool replies = Insist("Subscribe(replies)", kNoWait, [&] {
    auto handle = alpha_->Subscribe<Reply>(
        [this](const Reply& reply, const MessageInfo&) {
          replied_.push_back(reply.id());
        });
    if (!handle.ok()) return handle.status();
    replies_handle_ = *std::move(handle);
    return absl::OkStatus();
  });
  const bool pull = Insist("Subscriber(notes)", kNoWait, [&] {
    SubscriberOptions options;
    options.name = "pull";
    auto subscriber = beta_->Subscriber<Note>(options);
    if (!subscriber.ok()) return subscriber.status();
    pull_.emplace(*std::move(subscriber));
    return absl::OkStatus();
  });
  const bool loans = Insist("SubscribeRaw(loans)", kNoWait, [&] {
    auto handle = beta_->SubscribeRaw(
        LoanType(), [this](absl::Span<const std::byte> bytes, const auto&) {
          EXPECT_EQ(bytes.size(), kLoanBytes);
          EXPECT_EQ(bytes.front(), bytes.back());
          lent_.push_back(static_cast<uint64_t>(bytes.front()));
        });
    if (!handle.ok()) return handle.status();
    loans_handle_ = *std::move(handle);
    return absl::OkStatus();
  });
  const bool ticks = Insist("Subscriber(ticks)", kNoWait, [&] {
    SubscriberOptions options;
    options.topic = kTicks;
    options.overflow = Overflow::kDropOldest;
    options.depth = kTicksKept;
    auto subscriber = beta_->Subscriber<Note>(options);
    if (!subscriber.ok()) return subscriber.status();
    newest_ticks_.emplace(*std::move(subscriber));
    return absl::OkStatus();
  });
  return notes && replies && pull && loans && ticks &&
         Insist("Descriptor()", kNoWait,
                [&] { return pull_->Descriptor().status(); });
}

bool Scenario::Advertise() {
  const bool notes = Insist("Publisher(notes)", kNoWait, [&] {
    auto publisher = alpha_->Publisher<Note>();
    if (!publisher.ok()) return publisher.status();
    notes_.emplace(*std::move(publisher));
    return absl::OkStatus();
  });
  const bool replies = Insist("Publisher(replies)", kNoWait, [&] {
    auto publisher = beta_->Publisher<Reply>();
    if (!publisher.ok()) return publisher.status();
    replies_.emplace(*std::move(publisher));
    return absl::OkStatus();
  });
  const bool loans = Insist("RawPublisher(loans)", kNoWait, [&] {
    auto publisher = alpha_->RawPublisher(LoanType());
    if (!publisher.ok()) return publisher.status();
    loans_.emplace(*std::move(publisher));
    return absl::OkStatus();
  });
  const bool ticks = Insist("Publisher(ticks)", kNoWait, [&] {
    PublisherOptions options;
    options.topic = kTicks;
    auto publisher = alpha_->Publisher<Note>(options);
    if (!publisher.ok()) return publisher.status();
    ticks_.emplace(*std::move(publisher));
    return absl::OkStatus();
  });
  return notes && replies && loans && ticks &&
         Insist("WaitForSubscribers(loans)", kTimeout,
                [&] { return loans_->WaitForSubscribers(1, kTimeout); }) &&
         Insist("WaitForSubscribers(ticks)", kTimeout,
                [&] { return ticks_->WaitForSubscribers(1, kTimeout); }) &&
         Insist("WaitForSubscribers(notes)", kTimeout,
                [&] { return notes_->WaitForSubscribers(2, kTimeout); }) &&
         Insist("WaitForSubscribers(replies)", kTimeout,
                [&] { return replies_->WaitForSubscribers(1, kTimeout); });
}

void Scenario::Exchange(uint64_t first, uint64_t last) {
  for (uint64_t id = first; id <= last; ++id) {
    Note note;
    note.set_id(id);
    if (Insist("Publish(note)", kPublishTimeout,
               [&] { return notes_->Publish(note); })) {
      notes_accepted_.push_back(id);
    }
    Reply reply;
    reply.set_id(id);
    if (Insist("Publish(reply)", kPublishTimeout,
               [&] { return replies_->Publish(reply); })) {
      replies_accepted_.push_back(id);
    }
    RunAll();
  }
}

void Scenario::PublishLarge(uint64_t id) {
  Note note;
  note.set_id(id);
  note.set_blob(std::string(kLargeBytes, 'b'));
  if (Insist("Publish(large note)", kPublishTimeout,
             [&] { return notes_->Publish(note); })) {
    notes_accepted_.push_back(id);
  }
}

void Scenario::PublishLoan(uint64_t id) {
  if (Insist("Publish(loan)", kPublishTimeout, [&] {
        absl::StatusOr<Loan> loan = loans_->Loan(kLoanBytes);
        if (!loan.ok()) return loan.status();
        std::fill(loan->bytes().begin(), loan->bytes().end(),
                  static_cast<std::byte>(id));
        return loan->Publish();
      })) {
    loans_accepted_.push_back(id);
  }
}

void Scenario::PublishTicks(uint64_t first, uint64_t last) {
  for (uint64_t id = first; id <= last; ++id) {
    Note tick;
    tick.set_id(id);
    if (Insist("Publish(tick)", kNoWait,
               [&] { return ticks_->Publish(tick); })) {
      ticks_accepted_.push_back(id);
    }
  }
}

void Scenario::TakeTicks() {
  while (newest_ticks_.has_value()) {
    const auto tick = newest_ticks_->TryReceive();
    EXPECT_TRUE(tick.ok()) << tick.status();
    if (!tick.ok() || *tick == nullptr) return;
    if (!ticked_.empty()) {
      EXPECT_GT((*tick)->id(), ticked_.back());
    }
    ticked_.push_back((*tick)->id());
  }
}

bool Scenario::RunAll() {
  bool ran = false;
  for (MessageBus* bus : {alpha_.get(), beta_.get()}) {
    if (bus == nullptr) continue;
    // This is an error if that bus is the one that waits.
    ran |= bus->Poll(absl::ZeroDuration()).value_or(false);
  }
  while (pull_.has_value()) {
    const auto note = pull_->TryReceive();
    EXPECT_TRUE(note.ok()) << note.status();
    if (!note.ok() || *note == nullptr) break;
    pulled_.push_back((*note)->id());
    ran = true;
  }
  if (takes_ticks_) TakeTicks();
  return ran;
}

void Scenario::ExpectAllArrive() {
  takes_ticks_ = true;
  Insist("Flush(alpha)", kTimeout, [&] { return alpha_->Flush(kTimeout); });
  Insist("Flush(beta)", kTimeout, [&] { return beta_->Flush(kTimeout); });
  EXPECT_EQ(handled_, notes_accepted_);
  EXPECT_EQ(pulled_, notes_accepted_);
  takes_ticks_ = false;
  EXPECT_EQ(replied_, replies_accepted_);
  EXPECT_EQ(lent_, loans_accepted_);
  // When nobody took ticks, the newest were kept; the last of all must have
  // come.
  ASSERT_FALSE(ticked_.empty());
  EXPECT_EQ(ticked_.back(), ticks_accepted_.back());
}

void Scenario::ExpectLedgerTrue() {
  std::map<std::string, Ledger> topics;
  for (const MessageBus* bus : {alpha_.get(), beta_.get()}) {
    for (const FlowReport& flow : bus->FlowReports()) {
      topics[flow.topic] += flow.ledger;
    }
  }
  const Ledger& notes = topics[notes_->topic()];
  const Ledger& replies = topics[replies_->topic()];
  const Ledger& loans = topics[loans_->topic()];
  const Ledger& ticks = topics[kTicks];
  // Each note goes to two subscriptions.
  EXPECT_EQ(notes.accepted, 2 * notes_accepted_.size());
  EXPECT_EQ(notes.delivered, handled_.size() + pulled_.size());
  EXPECT_EQ(replies.accepted, replies_accepted_.size());
  EXPECT_EQ(replies.delivered, replied_.size());
  EXPECT_EQ(loans.accepted, loans_accepted_.size());
  EXPECT_EQ(loans.delivered, lent_.size());
  EXPECT_EQ(ticks.accepted, ticks_accepted_.size());
  EXPECT_EQ(ticks.delivered, ticked_.size());
  // After a fault more ticks may have been on their way when nobody took any.
  if (!sys_.fired()) {
    EXPECT_GT(ticks.dropped_for(DropReason::kOverflow), 0u);
  }
  for (const auto& [topic, ledger] : topics) {
    EXPECT_TRUE(ledger.Balances()) << topic;
    EXPECT_EQ(ledger.in_flight, 0u) << topic;
    EXPECT_EQ(ledger.dropped_total(),
              topic == kTicks ? ledger.dropped_for(DropReason::kOverflow) : 0u)
        << topic;
  }
}

void Scenario::Shutdown() {
  for (MessageBus* bus : {alpha_.get(), beta_.get()}) {
    if (bus == nullptr) continue;
    const TimeNs deadline = DeadlineAfter(world_.NowNs(), kTimeout);
    const absl::Status status = bus->Shutdown(kTimeout);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_LE(world_.NowNs(), deadline) << "Shutdown() is late: " << status;
  }
  notes_.reset();
  replies_.reset();
  pull_.reset();
  newest_ticks_.reset();
  ticks_.reset();
  loans_.reset();
  loans_handle_ = SubscriptionHandle();
  notes_handle_ = SubscriptionHandle();
  replies_handle_ = SubscriptionHandle();
  alpha_.reset();
  beta_.reset();
}

}  // namespace mycelium::test
