#ifndef TESTS_SIMULATION_SIMULATED_NODE_H_
#define TESTS_SIMULATION_SIMULATED_NODE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mycelium/base/random.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/testing/simulated_process.h"
#include "mycelium/testing/simulated_world.h"
#include "tests/simulation/ledger_book.h"
#include "tests/simulation/scenario.h"
#include "tests/simulation/simulated_message.h"

namespace mycelium::test {

// One node of a scenario over all its lives. Each life is a process with one
// thread that publishes, receives, waits and does what users do, at random. It
// writes what it sees into the ledger book.
class SimulatedNode final {
 public:
  // What the nodes of a world do.
  enum class Mode {
    kBusy,
    kDrain,  // Publish nothing, take everything.
  };

  SimulatedNode(SimulatedWorld& world, LedgerBook& book,
                const Scenario& scenario, int place, const Mode& mode);
  ~SimulatedNode();

  int place() const { return place_; }
  const PlannedNode& plan() const { return plan_; }

  // Called from outside its thread. Start() REQUIRES: not running.
  void Start(int drift);
  void Crash();
  void AskToLeave();
  void SetStopped(bool stopped);
  void SetSlow(bool slow) { slow_ = slow; }
  void AskToUnsubscribe() { unsubscribes_ = true; }
  // Publishes one message more with each publisher, until it is accepted.
  void AskToProbe();

  bool running() const { return life_ != nullptr; }
  // Destroys what is left of a life that has ended by itself.
  void Reap();
  bool stopped() const;
  bool slow() const { return slow_; }
  int incarnation() const { return incarnation_; }
  TimeNs ended_at() const { return ended_at_; }
  bool has_probed(LedgerBook::PublisherLife publisher) const;

  // The counts of the running process's buses.
  std::vector<FlowReport> Reports() const;

  // Whether all that is planned exists; and how many subscriptions a publisher
  // reaches.
  bool is_open() const;
  size_t SubscriberCount(LedgerBook::PublisherLife publisher) const;

  // The lives that are open now.
  std::vector<LedgerBook::PublisherLife> publishers() const;
  std::vector<LedgerBook::SubscriptionLife> subscriptions() const;

 private:
  struct Publishing;
  struct Subscribing;
  struct Contact;
  struct Life;

  // Run in its thread.
  void Main(Life& life);
  bool Open(Life& life);
  void Subscribe(Life& life, Subscribing& subscription);
  void Unsubscribe(Subscribing& subscription);
  void Resubscribe(Life& life, Subscribing& subscribing);
  void Act(Life& life);
  void Publish(Life& life, Publishing& publishing);
  void Receive(Life& life, Subscribing& subscribing);
  void ReceiveAll(Life& life);
  void Sleep(Life& life, int64_t longest_ns);
  void Probe(Life& life);
  void Leave(Life& life);
  void Close(Life& life);
  void OnMessage(Life& life, Subscribing& subscribing,
                 absl::Span<const std::byte> bytes, const MessageInfo& info);
  void OnError(const Life& life, Subscribing& subscribing, Overflow overflow,
               const absl::Status& status);
  void OnConnection(Life& life, const ConnectionEvent& event);
  // Notes a parting, and checks that there was a reason for it: the peer has
  // left, or was lost for `retain`.
  void NoteContact(Life& life, int other, const ConnectionEvent& event);

  // Runs a call that may wait `timeout_ns`, and checks that it waited no
  // longer.
  void Timed(Life& life, absl::string_view what, int64_t timeout_ns,
             absl::FunctionRef<void()> call);
  void Fail(absl::string_view what);

  SimulatedWorld& world_;
  LedgerBook& book_;
  const Scenario& scenario_;
  const int place_;
  const PlannedNode& plan_;
  const Mode& mode_;
  Random random_;
  MessageType type_;  // Of the process that runs.
  int incarnation_ = 0;
  TimeNs ended_at_ = 0;
  bool slow_ = false;
  bool unsubscribes_ = false;
  std::unique_ptr<Life> life_;
};

}  // namespace mycelium::test

#endif  // TESTS_SIMULATION_SIMULATED_NODE_H_
