#ifndef TESTS_SIMULATION_SCENARIO_H_
#define TESTS_SIMULATION_SCENARIO_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mycelium/topology/settings.h"

namespace mycelium::test {

struct PlannedPublisher {
  std::string service;
  std::string topic;
  std::string target;   // Empty: whoever subscribes.
  bool relays = false;  // Publishes from inside handlers only.
};

struct PlannedSubscription {
  std::string service;
  std::string topic;
  std::string name;
  bool pull = false;
  std::optional<Overflow> overflow;
  std::optional<int64_t> depth;
  std::optional<int64_t> window;
};

struct PlannedNode {
  std::string name;
  std::vector<std::string> services;
  std::vector<PlannedPublisher> publishers;
  std::vector<PlannedSubscription> subscriptions;
  // Sleeps in an epoll of its own, on the descriptors that the bus gives out;
  // otherwise in Poll().
  bool sleeps_on_descriptors = false;
  int64_t starts_after_ns = 0;
};

// The world that a seed makes: its nodes, which of them exchange messages, and
// how rough the world is. A plain value.
struct Scenario {
  uint64_t seed = 0;
  std::vector<PlannedNode> nodes;
  int64_t retain_ms = 0;
  int64_t publish_timeout_ms = 0;
  int64_t reconnect_max_ms = 0;
  int64_t handshake_ms = 0;
  Overflow overflow = Overflow::kBlock;  // Of [defaults].
  size_t socket_bytes = 0;
  // On how many hosts the nodes are; channels that gather link nodes of
  // different hosts. 0: all are on this host.
  size_t hosts = 0;
  bool processes_die = false;    // Crashes, restarts and clean shutdowns.
  bool partitions_last = false;  // Beyond `retain`.
  // Versions of the message type. Each process has one of them, and the next
  // process of its node another one. They are compatible.
  int versions = 1;
  uint32_t percent = 0;  // How often sockets misbehave.
  size_t faults = 0;

  // The topology file that a node reads; another `drift` gives another digest.
  std::string TopologyText(int drift) const;
  // The publishers and subscribers, for people.
  std::string PlanText() const;
};

// The policies that subscriptions may have.
const std::vector<Overflow>& SimulatedPolicies();

// Whether messages may be missing in the middle under that policy.
bool IsLossy(Overflow overflow);

Scenario MakeScenario(uint64_t seed);

}  // namespace mycelium::test

#endif  // TESTS_SIMULATION_SCENARIO_H_
