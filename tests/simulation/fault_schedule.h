#ifndef TESTS_SIMULATION_FAULT_SCHEDULE_H_
#define TESTS_SIMULATION_FAULT_SCHEDULE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "mycelium/base/random.h"
#include "mycelium/testing/simulated_world.h"
#include "tests/simulation/scenario.h"
#include "tests/simulation/simulated_node.h"

namespace mycelium::test {

// The faults of a simulated world, and their times: each fault sets the time of
// its own end. After Stop() there are no new faults, and what is broken is
// repaired.
class FaultSchedule final {
 public:
  using Nodes = std::vector<std::unique_ptr<SimulatedNode>>;

  FaultSchedule(SimulatedWorld& world, const Scenario& scenario, Nodes& nodes);

  // When the next step is due.
  TimeNs next() const {
    return steps_.empty() ? kNever : steps_.begin()->first;
  }
  // Does the steps that are due now.
  void RunDue();
  // Whether all faults have happened.
  bool done() const { return faults_left_ == 0; }

  // Ends all faults at once.
  void Stop();
  // Brings back the nodes that were shutting down at that moment.
  void Revive();

 private:
  void At(TimeNs time, std::function<void()> step) {
    steps_.emplace(time, std::move(step));
  }
  void PlanNext();
  void Strike();
  void Cut();
  void Partition();
  void Heal(int place, int other);
  void StopNode(SimulatedNode& node);
  void Crash(SimulatedNode& node);
  void Leave(SimulatedNode& node);
  void ComeBack(SimulatedNode& node);
  void MakeSlow(SimulatedNode& node);
  void ChangeWeather();
  int64_t Between(int64_t least, int64_t most);
  SimulatedNode& AnyNode();

  SimulatedWorld& world_;
  const Scenario& scenario_;
  Nodes& nodes_;
  Random random_;
  size_t faults_left_;
  int drift_ = 0;
  bool stopped_ = false;
  std::multimap<TimeNs, std::function<void()>> steps_;
  std::vector<std::pair<int, int>> partitions_;
};

}  // namespace mycelium::test

#endif  // TESTS_SIMULATION_FAULT_SCHEDULE_H_
