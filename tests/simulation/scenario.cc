#include "tests/simulation/scenario.h"

#include "absl/strings/str_cat.h"
#include "mycelium/base/random.h"

namespace mycelium::test {

const std::vector<Overflow>& SimulatedPolicies() {
  static const auto* const policies = new std::vector<Overflow>{
      Overflow::kBlock,      Overflow::kBlock,      Overflow::kFail,
      Overflow::kDropNewest, Overflow::kDropOldest, Overflow::kLatest,
      Overflow::kDisconnect};
  return *policies;
}

bool IsLossy(Overflow overflow) {
  return overflow == Overflow::kDropNewest ||
         overflow == Overflow::kDropOldest || overflow == Overflow::kLatest;
}

std::string Scenario::TopologyText(int drift) const {
  std::string text = absl::StrCat(
      hosts > 0 ? "insecure = true\n" : "",
      versions > 1 ? "schema = \"compatible\"\n" : "",
      "socket_dir = \"/simulated\"\n[defaults]\nwait = \"block\"\n",
      "lane_bytes = \"64KiB\"\nretain = \"", retain_ms, "ms\"\n",
      "publish_timeout = \"", publish_timeout_ms + drift, "ms\"\n",
      "overflow = \"", WordOf(overflow), "\"\n[limits]\nhandshake = \"",
      handshake_ms, "ms\"\nframe_bytes_max = \"32KiB\"\n",
      "reconnect_min = \"1ms\"\nreconnect_max = \"", reconnect_max_ms,
      "ms\"\n");
  for (size_t i = 0; i < nodes.size(); ++i) {
    const PlannedNode& node = nodes[i];
    absl::StrAppend(&text, "[[nodes]]\nname = \"", node.name, "\"\n");
    if (hosts > 0) {
      absl::StrAppend(&text, "host = \"10.0.0.", 1 + i % hosts,
                      "\"\nport = ", 9000 + i, "\n");
    }
    absl::StrAppend(&text, "services = [");
    for (const std::string& service : node.services) {
      absl::StrAppend(&text, "\"", service, "\", ");
    }
    absl::StrAppend(&text, "]\n");
  }
  // On one host the default is shared memory, which no process has here.
  if (hosts == 0) {
    absl::StrAppend(&text, "[[routes]]\nfrom = \"*\"\nto = \"*\"\n",
                    "transport = \"unix\"\n");
  }
  return text;
}

std::string Scenario::PlanText() const {
  std::string text;
  for (const PlannedNode& node : nodes) {
    absl::StrAppend(&text, node.name,
                    node.sleeps_on_descriptors ? " sleeps on descriptors"
                                               : " sleeps in Poll()",
                    "\n");
    for (const PlannedPublisher& publisher : node.publishers) {
      absl::StrAppend(&text, "  ", publisher.service, " publishes \"",
                      publisher.topic, "\" to ",
                      publisher.target.empty() ? "all" : publisher.target,
                      publisher.relays ? ", from handlers" : "", "\n");
    }
    for (const PlannedSubscription& subscription : node.subscriptions) {
      absl::StrAppend(&text, "  ", subscription.service, "/", subscription.name,
                      subscription.pull ? " pulls \"" : " handles \"",
                      subscription.topic, "\", ",
                      WordOf(subscription.overflow.value_or(overflow)),
                      ", depth ", subscription.depth.value_or(0), ", window ",
                      subscription.window.value_or(0), "\n");
    }
  }
  return text;
}

Scenario MakeScenario(uint64_t seed) {
  Random random(seed * 2 + 1);
  const auto between = [&](int64_t least, int64_t most) {
    return least + static_cast<int64_t>(
                       random.Below(static_cast<uint64_t>(most - least + 1)));
  };
  const auto policy = [&] {
    const auto& policies = SimulatedPolicies();
    return policies[random.Below(policies.size())];
  };
  Scenario scenario;
  scenario.seed = seed;
  scenario.retain_ms = between(100, 600);
  scenario.publish_timeout_ms = between(1, 50);
  scenario.reconnect_max_ms = between(5, 100);
  scenario.handshake_ms = between(20, 200);
  scenario.overflow = policy();
  scenario.socket_bytes = static_cast<size_t>(1) << between(10, 15);
  scenario.processes_die = seed % 4 != 0;
  scenario.partitions_last = seed % 3 != 0;
  scenario.versions = seed % 8 == 6 ? 3 : 1;
  scenario.percent = static_cast<uint32_t>(between(0, 3) * between(0, 4));
  scenario.faults = static_cast<size_t>(between(20, 50));

  // Small worlds are more frequent: each node has more to do there.
  const int64_t nodes = seed % 2 == 0 ? between(2, 4) : between(2, 8);
  const int64_t topics = between(1, 4);
  const auto topic = [&] { return absl::StrCat("topic-", between(1, topics)); };
  std::vector<std::string> services;
  for (int64_t i = 0; i < nodes; ++i) {
    PlannedNode node;
    node.name = absl::StrCat("node-", i);
    for (int64_t s = between(1, 2); s > 0; --s) {
      node.services.push_back(absl::StrCat("service-", services.size()));
      services.push_back(node.services.back());
    }
    node.sleeps_on_descriptors = random.Below(2) == 0;
    node.starts_after_ns =
        random.Below(4) == 0 ? between(0, 300'000'000) : between(0, 2'000'000);
    scenario.nodes.push_back(std::move(node));
  }
  for (int64_t i = 0; i < nodes; ++i) {
    PlannedNode& node = scenario.nodes[static_cast<size_t>(i)];
    const auto own = [&] {
      return node.services[random.Below(node.services.size())];
    };
    for (int64_t p = between(i == 0 ? 1 : 0, 2); p > 0; --p) {
      PlannedPublisher publisher{own(), topic(), ""};
      if (random.Below(4) == 0) {
        publisher.target = services[random.Below(services.size())];
      }
      node.publishers.push_back(std::move(publisher));
    }
    if (random.Below(3) == 0) {
      node.publishers.push_back({own(), topic(), "", /*relays=*/true});
    }
    for (int64_t s = between(i == 1 ? 1 : 0, 3); s > 0; --s) {
      PlannedSubscription subscription;
      subscription.service = own();
      subscription.topic = topic();
      subscription.name = absl::StrCat("s", s);
      subscription.pull = random.Below(2) == 0;
      if (random.Below(2) == 0) subscription.overflow = policy();
      if (random.Below(2) == 0) subscription.depth = between(1, 50);
      if (random.Below(2) == 0) subscription.window = between(1, 16);
      node.subscriptions.push_back(std::move(subscription));
    }
  }
  // At least one node listens to another.
  scenario.nodes[1].subscriptions.front().topic =
      scenario.nodes[0].publishers.front().topic;
  scenario.nodes[0].publishers.front().target.clear();
  // Two fifths of the worlds are between hosts: each node on its own, or on one
  // of two.
  if (seed % 5 == 0) scenario.hosts = scenario.nodes.size();
  if (seed % 5 == 4) scenario.hosts = 2;
  return scenario;
}

}  // namespace mycelium::test
