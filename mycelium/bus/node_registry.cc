#include "mycelium/bus/node_registry.h"

#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/per_process.h"
#include "mycelium/bus/option_bounds.h"
#include "mycelium/topology/environment.h"
#include "mycelium/topology/nearest_word.h"
#include "mycelium/topology/service_host.h"
#include "mycelium/topology/topology_loader.h"

namespace mycelium {
namespace {

constexpr char kTopologyVariable[] = "MYCELIUM_TOPOLOGY";

absl::StatusOr<std::string> PathOrDefault(const std::string& path) {
  if (!path.empty()) return path;
  const std::optional<std::string> given =
      ProcessEnvironment()(kTopologyVariable);
  if (given.has_value() && !given->empty()) return *given;
  return absl::InvalidArgumentError(absl::StrCat(
      "no topology file: pass a path, or set ", kTopologyVariable));
}

std::string CanonicalPath(const std::string& path) {
  std::error_code error;
  const std::filesystem::path canonical =
      std::filesystem::canonical(path, error);
  return error ? path : canonical.string();
}

}  // namespace

NodeRegistry& NodeRegistry::Get() {
  static PerProcess<NodeRegistry> registry;
  return registry.Get();
}

absl::StatusOr<std::shared_ptr<NodeRuntime>> NodeRegistry::Join(
    const std::string& given_path, const std::string& service,
    const BusOptions& options) {
  absl::StatusOr<std::string> path = PathOrDefault(given_path);
  if (!path.ok()) return path.status();
  if (absl::Status given = CheckOptionsBesideTopology(options, *path);
      !given.ok()) {
    return given;
  }
  absl::StatusOr<Topology> topology =
      LoadTopology(options.environment->sys, *path, ProcessEnvironment());
  if (!topology.ok()) return topology.status();
  const absl::StatusOr<const TopologyNode*> host = HostOf(*topology, service);
  if (!host.ok()) return host.status();
  const TopologyNode* const node = *host;
  if (!options.node.empty() && options.node != node->name) {
    return absl::InvalidArgumentError(
        absl::StrCat("BusOptions: node is ", Quoted(options.node), ", but ",
                     *path, " has service ", Quoted(service), " on node ",
                     Quoted(node->name), "; leave it empty"));
  }
  std::shared_ptr<NodeRuntime> running;  // Not destroyed under the lock.
  MutexLock lock(mutex_);
  Known& known = nodes_[Key(CanonicalPath(*path), node->name)];
  running = known.node.lock();
  // A node that has ended may live on in publishers that nobody uses any more,
  // and a node that nobody has any more may still be ending.
  if (!known.HasEnded()) {
    if (running == nullptr) return NodeRuntime::Ending(node->name);
    if (ContentDigest(*running->topology()) == ContentDigest(*topology)) {
      return running;
    }
    return absl::FailedPreconditionError(absl::StrCat(
        *path, " has changed since node ", node->name,
        " of this process was started with it; restart the process"));
  }
  const std::string name = node->name;
  absl::StatusOr<std::shared_ptr<NodeRuntime>> made = NodeRuntime::Create(
      options, name, std::make_shared<const Topology>(*std::move(topology)));
  if (made.ok()) known = {*made, (*made)->ended()};
  return made;
}

absl::StatusOr<std::shared_ptr<NodeRuntime>> NodeRegistry::JoinProcess(
    const BusOptions& options) {
  std::shared_ptr<NodeRuntime> running;  // Not destroyed under the lock.
  MutexLock lock(mutex_);
  Known& known = nodes_[Key()];
  running = known.node.lock();
  // A node that nobody has any more listens nowhere where the next one does.
  if (running != nullptr && !known.HasEnded()) return running;
  absl::StatusOr<std::shared_ptr<NodeRuntime>> made =
      NodeRuntime::Create(options, options.node, nullptr);
  if (made.ok()) known = {*made, (*made)->ended()};
  return made;
}

}  // namespace mycelium
