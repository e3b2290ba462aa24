#ifndef TESTS_FAULTS_SCENARIO_H_
#define TESTS_FAULTS_SCENARIO_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "mycelium/bus/message_bus.h"
#include "tests/faults/stepped_world.h"
#include "tests/support/faulty_sys.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {

// The kernel of a scenario. It decides all random numbers and timers, so that
// every run makes the same calls.
class ScenarioSys final : public FaultySys {
 public:
  // No thread polls the descriptor, and the time is not the kernel's.
  int64_t TimerFdSet(int fd, int64_t after_ns) override {
    return FaultySys::TimerFdSet(fd, after_ns > 0 ? kFarNs : 0);
  }
  int64_t GetRandom(void* bytes, size_t bytes_count) override;

 private:
  static constexpr int64_t kFarNs = 3'600'000'000'000;
  uint64_t random_ = 0x9e3779b97f4a7c15;
};

// Two nodes of one process with a Unix socket between them. The socket carries
// the frames or, over "shm", what accompanies shared memory. One thread drives
// the nodes. They start from a topology file, subscribe, and exchange messages
// both ways: some larger than a socket takes at once, some in loans, and some
// of which only the newest are kept. They lose their connection in the middle
// of a message, go on, and shut down.
//
// Whatever one system call does, these laws are checked, by gtest:
//   - every call of the bus returns within its deadline, with OK or with a
//     status whose code fits the errno and whose message says it and where;
//     a call that failed succeeds when it is repeated
//   - every message that was accepted arrives once and in order, or, where only
//     the newest are kept, is dropped and counted, and the last ones arrive
//   - the ledger is true, and empty at the end
//   - no descriptor and no mapping is left
//
// Thread safety: none. Use once.
class Scenario final {
 public:
  // `transport`: "unix" or "shm".
  // `fault`: the errno that a call of `sys` is to fail with; 0: none fails.
  Scenario(ScenarioSys& sys, const std::string& transport, int fault = 0);
  ~Scenario();

  void Run();

  // How many calls of the bus returned an error.
  uint64_t calls_failed() const { return calls_failed_; }

 private:
  using Ids = std::vector<uint64_t>;

  // Makes one call, and repeats it once if it fails. False: it failed again.
  bool Insist(absl::string_view what, absl::Duration timeout,
              const std::function<absl::Status()>& call);
  void ExpectSaysWhy(absl::string_view what, const absl::Status& status) const;
  bool OpenBuses();
  bool Subscribe();
  bool Advertise();
  void Exchange(uint64_t first, uint64_t last);
  void PublishLarge(uint64_t id);
  void PublishLoan(uint64_t id);
  void PublishTicks(uint64_t first, uint64_t last);
  void TakeTicks();
  void ExpectAllArrive();
  void ExpectLedgerTrue();
  void Shutdown();
  // Gives each bus a turn and takes the messages that can be pulled.
  bool RunAll();

  ScenarioSys& sys_;
  const int fault_;
  SteppedWorld world_;
  Environment environment_;
  ShortTempDir dir_;
  uint64_t calls_failed_ = 0;

  std::unique_ptr<MessageBus> alpha_;
  std::unique_ptr<MessageBus> beta_;
  SubscriptionHandle notes_handle_;
  SubscriptionHandle replies_handle_;
  SubscriptionHandle loans_handle_;
  std::optional<Subscriber<Note>> pull_;
  std::optional<Subscriber<Note>> newest_ticks_;
  std::optional<Publisher<Note>> notes_;
  std::optional<Publisher<Reply>> replies_;
  std::optional<Publisher<Note>> ticks_;
  std::optional<RawPublisher> loans_;
  bool takes_ticks_ = false;
  // Ids of messages that arrived, and of messages that were accepted.
  Ids handled_, pulled_, replied_, lent_, ticked_;
  Ids notes_accepted_, replies_accepted_, loans_accepted_, ticks_accepted_;
};

}  // namespace mycelium::test

#endif  // TESTS_FAULTS_SCENARIO_H_
