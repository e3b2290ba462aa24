#ifndef TESTS_SIMULATION_STALL_WATCH_H_
#define TESTS_SIMULATION_STALL_WATCH_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "mycelium/testing/simulated_world.h"
#include "tests/simulation/ledger_book.h"
#include "tests/simulation/simulated_node.h"

namespace mycelium::test {

// The law that nothing stands still without a reason while faults go on:
// messages in flight between two nodes move, and a publisher comes to reach all
// the subscriptions that it should.
//
// Time counts only while both nodes are well: they run, are not stopped and not
// slow, and no partition lies between them. Lost connections, delays and
// refusals are no excuse. The watch looks now and then; it does not see what
// ends between two looks.
class StallWatch final {
 public:
  using Nodes = std::vector<std::unique_ptr<SimulatedNode>>;

  // The longest time in which nothing may move: a handshake that times out, a
  // redial, and handlers that publish in vain, one after the other. It is about
  // twice the longest time of thousands of seeds.
  static constexpr int64_t kLongestNs = 1'250'000'000;

  StallWatch(const SimulatedWorld& world, const Nodes& nodes, LedgerBook& book)
      : world_(world), nodes_(nodes), book_(book) {}

  // Adds violations to the book. Looks again only after some time has passed.
  void Look();

  // The longest standstill, of flows that moved again and of those that still
  // stand.
  int64_t longest_ns() const { return longest_ns_; }

 private:
  // Place and incarnation of the publisher, topic, the two services, name.
  using FlowKey =
      std::tuple<int, int, std::string, std::string, std::string, std::string>;
  struct Standing {
    uint64_t progress = 0;
    int64_t well_ns = 0;
    TimeNs seen_at = 0;
  };

  void LookAtFlows(int64_t passed_ns);
  void LookAtMatches(int64_t passed_ns);
  // Adds time to what stands. True, once, when that is too long.
  bool Add(Standing& standing, int64_t passed_ns);
  bool AreWell(int place, int other) const;
  int PlaceOf(const std::string& node) const;

  const SimulatedWorld& world_;
  const Nodes& nodes_;
  LedgerBook& book_;
  TimeNs looked_at_ = 0;
  std::vector<bool> well_;  // By place, now and at the look before.
  std::vector<bool> well_now_;
  std::map<FlowKey, Standing> flows_;
  std::map<LedgerBook::PublisherLife, Standing> matches_;
  int64_t longest_ns_ = 0;
};

}  // namespace mycelium::test

#endif  // TESTS_SIMULATION_STALL_WATCH_H_
