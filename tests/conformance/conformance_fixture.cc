#include "tests/conformance/conformance_fixture.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/loopback_address.h"

namespace mycelium::test {
namespace {

std::string Describe(const FlowReport& flow) {
  const Ledger& ledger = flow.ledger;
  std::string line =
      absl::StrCat("ledger of \"", flow.topic, "\", ", flow.publisher_node, "/",
                   flow.publisher_service, " -> ", flow.subscriber_node, "/",
                   flow.subscriber_service, " (", flow.subscription_name,
                   "): accepted ", ledger.accepted, ", delivered ",
                   ledger.delivered, ", in flight ", ledger.in_flight);
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    absl::StrAppend(&line, ", ", DropReasonWord(static_cast<DropReason>(i)),
                    " ", ledger.dropped[i]);
  }
  return line;
}

}  // namespace

void ConformanceTest::Open(const std::string& settings,
                           const BusOptions& options) {
  WriteTopology(settings);
  alpha_ = OpenService("alpha", options);
  beta_ = OpenService("beta", options);
}

void ConformanceTest::WriteTopology(const std::string& settings) {
  std::ofstream out(path_);
  out << "socket_dir = \"" << dir_.path() << "\"\n" << settings << "\n";
  if (GetParam() == "inproc") {
    out << "[[nodes]]\nname = \"both\"\nservices = [\"alpha\", \"beta\"]\n";
    return;
  }
  for (const std::string service : {"alpha", "beta"}) {
    out << "[[nodes]]\nname = \"" << service << "-node\"\nservices = [\""
        << service << "\"]\n";
    if (GetParam() != "grpc") continue;
    if (host_.empty()) host_ = LoopbackAddress().host;
    out << "host = \"" << host_ << "\"\nport = " << LoopbackAddress().port
        << "\n";
  }
  out << "[[routes]]\nfrom = \"*\"\nto = \"*\"\ntransport = \"" << GetParam()
      << "\"\n";
}

std::unique_ptr<MessageBus> ConformanceTest::OpenService(
    const std::string& service, const BusOptions& options) {
  auto bus = MessageBus::FromTopology(path_, service, options);
  EXPECT_TRUE(bus.ok()) << bus.status();
  return bus.ok() ? *std::move(bus) : nullptr;
}

void ConformanceTest::TearDown() {
  Settle();
  for (const auto& node : Nodes()) {
    for (const LinkReport& link : node->LinkReports()) {
      EXPECT_EQ(link.transport, GetParam());
      EXPECT_EQ(link.fallback, "");
    }
  }
  uint64_t accepted = 0;
  for (const FlowReport& flow : Flows()) {
    accepted += flow.ledger.accepted;
    EXPECT_TRUE(flow.ledger.Balances()) << Describe(flow);
    EXPECT_EQ(flow.ledger.in_flight, 0u) << Describe(flow);
  }
  EXPECT_GT(accepted, 0u) << "nothing was published: no law was tested";
  for (MessageBus* bus : {alpha_.get(), beta_.get()}) {
    if (bus != nullptr) (void)bus->Shutdown(absl::Milliseconds(100));
  }
  // Before the members of a test are destroyed, since its buses may use them.
  alpha_.reset();
  beta_.reset();
}

void ConformanceTest::Settle() {
  const absl::Time end = absl::Now() + kLong;
  const auto all_settled = [this] {
    for (const FlowReport& flow : Flows()) {
      if (flow.ledger.in_flight > 0) return false;
#ifndef MYCELIUM_MISCOUNT  // It never balances.
      if (!flow.ledger.Balances()) return false;
#endif
    }
    return true;
  };
  do {
    for (MessageBus* bus : {alpha_.get(), beta_.get()}) {
      if (bus == nullptr) continue;
      (void)bus->Flush(absl::Milliseconds(10));
      (void)bus->Poll(absl::ZeroDuration());  // Needed if no thread polls.
    }
  } while (!all_settled() && absl::Now() < end);
}

std::vector<std::shared_ptr<NodeRuntime>> ConformanceTest::Nodes() const {
  std::vector<std::shared_ptr<NodeRuntime>> nodes;
  for (const MessageBus* bus : {alpha_.get(), beta_.get()}) {
    if (bus == nullptr) continue;
    if (std::find(nodes.begin(), nodes.end(), bus->runtime()) == nodes.end()) {
      nodes.push_back(bus->runtime());
    }
  }
  return nodes;
}

std::vector<FlowReport> ConformanceTest::Flows() const {
  std::vector<FlowReport> folded;
  for (const auto& node : Nodes()) {
    for (const FlowReport& report : node->FlowReports()) {
      const auto known = std::find_if(
          folded.begin(), folded.end(),
          [&](const auto& other) { return other.SameFlow(report); });
      if (known == folded.end()) {
        folded.push_back(report);
      } else {
        known->ledger += report.ledger;
      }
    }
  }
  return folded;
}

Ledger ConformanceTest::Total() const {
  Ledger total;
  for (const FlowReport& flow : Flows()) total += flow.ledger;
  return total;
}

void Inbox::Add(uint64_t id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ids_.push_back(id);
  changed_.notify_all();
}

bool Inbox::WaitFor(size_t count) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, absl::ToChronoSeconds(kLong),
                           [&] { return ids_.size() >= count; });
}

std::vector<uint64_t> Inbox::ids() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ids_;
}

Note MakeNote(uint64_t id, size_t blob_bytes) {
  Note note;
  note.set_id(id);
  note.set_text(absl::StrCat("note ", id));
  note.set_blob(std::string(blob_bytes, 'b'));
  return note;
}

std::vector<uint64_t> Counting(uint64_t count) {
  std::vector<uint64_t> ids(count);
  std::iota(ids.begin(), ids.end(), 1);
  return ids;
}

SubscriberOptions Delivered(DeliveryMode mode, const std::string& name) {
  SubscriberOptions options;
  options.delivery = mode;
  options.name = name;
  return options;
}

std::vector<uint64_t> ReceiveAll(Subscriber<Note>& from, size_t count) {
  std::vector<uint64_t> ids;
  while (ids.size() < count) {
    auto note = from.Receive(kLong);
    if (!note.ok()) {
      ADD_FAILURE() << note.status() << " after " << ids.size() << " notes";
      break;
    }
    ids.push_back((*note)->id());
  }
  (void)from.TryReceive();  // Finishes the last one.
  return ids;
}

}  // namespace mycelium::test
