#include "tests/simulation/fault_schedule.h"

#include <algorithm>

namespace mycelium::test {
namespace {

constexpr int64_t kMs = 1'000'000;

}  // namespace

FaultSchedule::FaultSchedule(SimulatedWorld& world, const Scenario& scenario,
                             Nodes& nodes)
    : world_(world),
      scenario_(scenario),
      nodes_(nodes),
      random_(scenario.seed * 3 + 11),
      faults_left_(scenario.faults) {
  for (const auto& node : nodes_) {
    At(world.now() + node->plan().starts_after_ns,
       [&started = *node] { started.Start(/*drift=*/0); });
  }
  ChangeWeather();
  PlanNext();
}

int64_t FaultSchedule::Between(int64_t least, int64_t most) {
  return least + static_cast<int64_t>(
                     random_.Below(static_cast<uint64_t>(most - least + 1)));
}

SimulatedNode& FaultSchedule::AnyNode() {
  return *nodes_[random_.Below(nodes_.size())];
}

void FaultSchedule::RunDue() {
  for (const auto& node : nodes_) {
    if (!node->running()) continue;
    node->Reap();
    if (!node->running() && !stopped_) ComeBack(*node);  // It has left.
  }
  while (!steps_.empty() && steps_.begin()->first <= world_.now()) {
    const std::function<void()> step = std::move(steps_.begin()->second);
    steps_.erase(steps_.begin());
    step();
  }
}

void FaultSchedule::PlanNext() {
  At(world_.now() + Between(0, 30 * kMs), [this] {
    if (faults_left_ == 0) return;
    --faults_left_;
    Strike();
    PlanNext();
  });
}

void FaultSchedule::Strike() {
  SimulatedNode& node = AnyNode();
  const uint64_t kind = random_.Below(100);
  if (kind < 35) return Cut();
  if (kind < 47) return Partition();
  if (kind < 57) return ChangeWeather();
  if (!node.running()) return;
  if (kind < 67) return StopNode(node);
  if (kind < 77) return MakeSlow(node);
  if (kind < 82) return node.AskToUnsubscribe();
  if (!scenario_.processes_die) return Cut();
  if (kind < 94) return Crash(node);
  if (!node.stopped()) Leave(node);
}

void FaultSchedule::Cut() {
  const int place = AnyNode().place();
  const std::vector<int> neighbours = world_.kernel().NeighboursOf(place);
  if (neighbours.empty()) return;
  (void)world_.kernel().Cut(place,
                            neighbours[random_.Below(neighbours.size())]);
}

void FaultSchedule::Partition() {
  const int place = AnyNode().place();
  const int other = AnyNode().place();
  if (place == other || world_.kernel().IsPartitioned(place, other)) return;
  world_.kernel().SetPartitioned(place, other, true);
  partitions_.emplace_back(place, other);
  if (random_.Below(2) == 0) (void)world_.kernel().Cut(place, other);
  const int64_t longest = scenario_.partitions_last && random_.Below(4) == 0
                              ? scenario_.retain_ms * 2
                              : scenario_.retain_ms / 2;
  At(world_.now() + Between(1, longest) * kMs,
     [this, place, other] { Heal(place, other); });
}

void FaultSchedule::Heal(int place, int other) {
  if (!world_.kernel().IsPartitioned(place, other)) return;
  world_.kernel().SetPartitioned(place, other, false);
}

void FaultSchedule::StopNode(SimulatedNode& node) {
  if (node.stopped()) return;
  node.SetStopped(true);
  const int incarnation = node.incarnation();
  At(world_.now() + Between(1, 300) * kMs, [&node, incarnation] {
    if (node.running() && node.incarnation() == incarnation) {
      node.SetStopped(false);
    }
  });
}

void FaultSchedule::Crash(SimulatedNode& node) {
  node.Crash();
  ComeBack(node);
}

void FaultSchedule::Leave(SimulatedNode& node) { node.AskToLeave(); }

void FaultSchedule::ComeBack(SimulatedNode& node) {
  const bool in_time = random_.Below(2) == 0;
  const int64_t wait =
      in_time ? Between(0, scenario_.retain_ms - 1)
              : Between(scenario_.retain_ms + 1, scenario_.retain_ms * 2 + 50);
  At(world_.now() + wait * kMs, [this, &node] {
    if (node.running()) return;
    const int64_t away = world_.now() - node.ended_at();
    world_.trace().Note(world_.now(),
                        away < scenario_.retain_ms * kMs
                            ? Happening::kReturnInTime
                            : Happening::kReturnLate,
                        node.place());
    int drift = 0;
    if (random_.Below(3) == 0) {
      drift = ++drift_;
      world_.trace().Note(world_.now(), Happening::kDrift, node.place());
    }
    node.Start(drift);
  });
}

void FaultSchedule::MakeSlow(SimulatedNode& node) {
  world_.trace().Note(world_.now(), Happening::kSlow, node.place());
  node.SetSlow(true);
  At(world_.now() + Between(5, 200) * kMs, [&node] { node.SetSlow(false); });
}

void FaultSchedule::ChangeWeather() {
  SimulatedKernel::Weather& weather = world_.kernel().weather();
  const auto some = [&] {
    return static_cast<uint32_t>(
        Between(0, static_cast<int64_t>(scenario_.percent)));
  };
  weather.short_write_percent = 1 + some();
  weather.short_read_percent = 1 + some();
  weather.interrupt_percent = 1 + some() / 4;
  weather.refuse_percent = some();
  weather.long_delay_percent = 1 + some();
  weather.long_delay_max_ns = Between(1, 40) * kMs;
  weather.socket_bytes = scenario_.socket_bytes;
}

void FaultSchedule::Stop() {
  stopped_ = true;
  faults_left_ = 0;
  steps_.clear();
  for (const auto& [place, other] : partitions_) Heal(place, other);
  world_.kernel().weather() = SimulatedKernel::Weather();
  for (const auto& node : nodes_) {
    node->SetSlow(false);
    if (node->running()) node->SetStopped(false);
  }
  Revive();
}

void FaultSchedule::Revive() {
  for (const auto& node : nodes_) {
    node->Reap();
    if (!node->running()) node->Start(/*drift=*/0);
  }
}

}  // namespace mycelium::test
