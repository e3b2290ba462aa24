#include "mycelium/cli/node_finder.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mycelium/topology/route_rules.h"
#include "mycelium/topology/socket_dir.h"
#include "mycelium/topology/topology_loader.h"

namespace mycelium {
namespace {

constexpr absl::string_view kSuffix = ".sock";

void AddNodesOf(const Topology& topology, HostView* view) {
  const absl::flat_hash_set<const TopologyNode*> listeners =
      LocalListeners(topology);
  for (const TopologyNode& node : topology.nodes) {
    SeenNode seen;
    seen.name = node.name;
    seen.in_topology = true;
    // Names are not resolved: it may be this machine all the same.
    if (!node.place.empty()) seen.host = node.host;
    if (listeners.contains(&node)) {
      seen.path = topology.SocketPath(node);
    } else {
      seen.state = NodeState::kNotAsked;
      seen.why = seen.host.empty()
                     ? "it has no peer on this host, and so no socket here; an "
                       "endpoint of kind shm would be one"
                     : absl::StrCat("it is on host ", seen.host,
                                    ", and has no peer there, and so no "
                                    "socket; an endpoint of kind shm would be "
                                    "one");
    }
    view->nodes.push_back(std::move(seen));
  }
}

bool IsKnown(const HostView& view, const std::string& path) {
  return std::any_of(view.nodes.begin(), view.nodes.end(),
                     [&](const SeenNode& node) { return node.path == path; });
}

// Who owns it decides what is found there.
absl::Status CheckOwner(Sys& sys, const std::string& directory,
                        const std::vector<int64_t>& allow_uids) {
  struct stat found;
  const int64_t looked = sys.Lstat(directory.c_str(), &found);
  if (looked == -ENOENT) return absl::OkStatus();
  if (looked < 0) {
    return ErrnoStatus(looked, absl::StrCat("socket_dir ", directory));
  }
  const int64_t owner = found.st_uid;
  const int64_t self = sys.GetEffectiveUid();
  if (owner == self || owner == 0 || self == 0 ||
      std::find(allow_uids.begin(), allow_uids.end(), owner) !=
          allow_uids.end()) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(
      absl::StrCat("socket_dir ", directory, ": belongs to uid ", owner,
                   ", not to uid ", self, " or root"));
}

// Nothing if there is no such directory: then nobody runs.
absl::Status AddSocketsIn(Sys& sys, const std::string& directory,
                          HostView* view) {
  std::vector<std::string> names;
  // One more, to know whether that is all.
  const int64_t read =
      sys.ReadDirectory(directory.c_str(), kFilesMax + 1, &names);
  if (read == -ENOENT) return absl::OkStatus();
  if (read < 0) {
    return ErrnoStatus(read, absl::StrCat("socket_dir ", directory));
  }
  std::sort(names.begin(), names.end());
  size_t found = 0;
  for (const std::string& name : names) {
    absl::string_view node_name = name;
    if (!absl::ConsumeSuffix(&node_name, kSuffix) || node_name.empty()) {
      continue;
    }
    SeenNode node;
    node.name = std::string(node_name);
    node.path = absl::StrCat(directory, "/", name);
    if (IsKnown(*view, node.path) || ++found > kSocketsMax) continue;
    view->nodes.push_back(std::move(node));
  }
  if (names.size() > kFilesMax) {
    view->left_out = absl::StrCat("it has more than ", kFilesMax, " files");
  } else if (found > kSocketsMax) {
    view->left_out = absl::StrCat("it has ", found, " sockets, of which ",
                                  kSocketsMax, " are asked");
  }
  return absl::OkStatus();
}

bool IsPath(const std::string& name) { return absl::StrContains(name, '/'); }

// Leaves those that were named.
void KeepNamed(const std::vector<std::string>& names,
               const std::string& directory, HostView* view) {
  std::vector<SeenNode> kept;
  for (const std::string& name : names) {
    const bool is_path = IsPath(name);
    const auto known = std::find_if(
        view->nodes.begin(), view->nodes.end(), [&](const SeenNode& node) {
          return is_path ? node.path == name : node.name == name;
        });
    SeenNode node;
    if (known != view->nodes.end()) {
      node = *known;
    } else {
      node.name = name;
      node.path = is_path ? name : absl::StrCat(directory, "/", name, kSuffix);
    }
    const bool is_named_again =
        std::any_of(kept.begin(), kept.end(), [&](const SeenNode& other) {
          return other.path == node.path && other.name == node.name;
        });
    if (!is_named_again) kept.push_back(std::move(node));
  }
  view->nodes = std::move(kept);
  view->left_out.clear();
}

}  // namespace

absl::StatusOr<HostView> FindNodes(Sys& sys, const EnvLookup& env,
                                   const StatusOptions& options) {
  HostView view;
  std::string directory = options.socket_dir;
  std::vector<int64_t> allow_uids;
  if (!options.topology.empty()) {
    absl::StatusOr<Topology> topology =
        LoadTopology(sys, options.topology, env);
    if (!topology.ok()) return topology.status();
    // Of the file, and not of where we look.
    view.topology_digest = absl::HexStringToBytes(ContentDigest(*topology));
    if (!directory.empty()) topology->socket_dir = directory;
    directory = topology->socket_dir;
    view.is_default_dir =
        options.socket_dir.empty() && !topology->socket_dir_configured;
    allow_uids = topology->allow_uids;
    AddNodesOf(*topology, &view);
  }
  if (directory.empty()) {
    directory = DefaultSocketDir(env, sys.GetEffectiveUid());
    view.is_default_dir = true;
  }
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  view.socket_dir = directory;
  // Whoever names sockets by their paths does not mean those that lie there.
  if (options.nodes.empty() ||
      !std::all_of(options.nodes.begin(), options.nodes.end(), IsPath)) {
    absl::Status looked = CheckOwner(sys, directory, allow_uids);
    if (looked.ok()) looked = AddSocketsIn(sys, directory, &view);
    if (!looked.ok()) return looked;
  }
  if (!options.nodes.empty()) KeepNamed(options.nodes, directory, &view);
  return view;
}

}  // namespace mycelium
