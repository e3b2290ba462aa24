#ifndef TESTS_CONFORMANCE_CONFORMANCE_FIXTURE_H_
#define TESTS_CONFORMANCE_CONFORMANCE_FIXTURE_H_

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {

// Two services, alpha and beta, with the transport of the parameter between
// them: in one node, or in two nodes of this host. What they do to messages is
// a law, so each test runs over every transport.
//
// After a test all messages must be accounted for. For each publisher and
// subscription accepted = delivered + dropped, and nothing is in flight. A test
// in which no message was accepted fails, too.
//
// Example:
//   TEST_P(DeliveryTest, NoteArrives) {
//     Open();
//     ...
//   }
//   MYCELIUM_ALL_TRANSPORTS(DeliveryTest);
class ConformanceTest : public testing::TestWithParam<std::string> {
 protected:
  // Writes the topology, with `settings` in front of its nodes, and opens both
  // services.
  void Open(const std::string& settings = "",
            const BusOptions& options = BusOptions());
  // The same in two steps.
  void WriteTopology(const std::string& settings = "");
  std::unique_ptr<MessageBus> OpenService(
      const std::string& service, const BusOptions& options = BusOptions());

  void TearDown() override;

  // Flushes both nodes, in turn, until nothing is in flight.
  void Settle();

  // The counts of both nodes, added up.
  std::vector<FlowReport> Flows() const;
  Ledger Total() const;

  const std::string& topology_path() const { return path_; }

  ShortTempDir dir_;
  const std::string path_ = dir_.file("topology.toml");
  std::string host_;  // Of both nodes, where a transport needs one.
  std::unique_ptr<MessageBus> alpha_;
  std::unique_ptr<MessageBus> beta_;

 private:
  std::vector<std::shared_ptr<NodeRuntime>> Nodes() const;
};

// The ids that handlers got, in order.
//
// Thread safety: all members may be called from any thread.
class Inbox final {
 public:
  void Add(uint64_t id);
  // Waits, for a long time, until there are `count` ids.
  bool WaitFor(size_t count);
  std::vector<uint64_t> ids() const;

  std::function<void(const Note&, const MessageInfo&)> Handler() {
    return [this](const Note& note, const MessageInfo&) { Add(note.id()); };
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<uint64_t> ids_;
};

// A test waits this long only if it is about to fail.
inline constexpr absl::Duration kLong = absl::Seconds(20);
// More messages than a lane of the tests holds.
inline constexpr uint64_t kMoreThanFits = 10'000;

Note MakeNote(uint64_t id, size_t blob_bytes = 0);

// 1, 2, …, `count`.
std::vector<uint64_t> Counting(uint64_t count);

SubscriberOptions Delivered(DeliveryMode mode, const std::string& name = "");

// Receives what is there or arrives in time, and gives its room back.
std::vector<uint64_t> ReceiveAll(Subscriber<Note>& from, size_t count);

MATCHER_P(HasCode, code, "") {
  *result_listener << arg.ToString();
  return arg.code() == code;
}
MATCHER(IsOk, "") {
  *result_listener << arg.ToString();
  return arg.ok();
}

}  // namespace mycelium::test

#define MYCELIUM_ALL_TRANSPORTS(Suite)                           \
  INSTANTIATE_TEST_SUITE_P(                                      \
      AllTransports, Suite,                                      \
      ::testing::Values("inproc", "unix", "shm", "grpc"),        \
      [](const testing::TestParamInfo<std::string>& transport) { \
        return transport.param;                                  \
      })

#endif  // TESTS_CONFORMANCE_CONFORMANCE_FIXTURE_H_
