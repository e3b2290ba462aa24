#include "mycelium/cli/status_command.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/cli/ask_nodes.h"
#include "mycelium/cli/diagnosis.h"
#include "mycelium/cli/node_finder.h"
#include "mycelium/cli/status_json.h"
#include "mycelium/cli/status_options.h"
#include "mycelium/cli/status_text.h"

namespace mycelium {
namespace {

constexpr char kTopologyVariable[] = "MYCELIUM_TOPOLOGY";

CommandResult Invalid(const absl::Status& status) {
  return {kExitInvalid, "", absl::StrCat(status.message(), "\n")};
}

// A socket in the directory that belongs to no node of the topology is there
// for something else, unless a node answers there.
void ForgetStrangers(HostView* view) {
  auto& nodes = view->nodes;
  nodes.erase(std::remove_if(nodes.begin(), nodes.end(),
                             [](const SeenNode& node) {
                               return !node.in_topology &&
                                      (node.state == NodeState::kNotRunning ||
                                       node.state == NodeState::kStale ||
                                       node.state == NodeState::kUnclear);
                             }),
              nodes.end());
  view->left_out.clear();
}

}  // namespace

std::string StatusUsageText() {
  return "usage: mycelium status [--topology FILE] [--socket_dir DIR]\n"
         "                       [--node NAME]... [--timeout 2s] [--json]\n"
         "\n"
         "Asks the running nodes of this host whom they are connected to and\n"
         "what they have counted, and says who does not talk to whom, and "
         "why.\n"
         "\n"
         "  --topology FILE   ask the nodes of that file, and say which of\n"
         "                    them do not run; without it or --socket_dir,\n"
         "                    that of MYCELIUM_TOPOLOGY if it is set\n"
         "  --socket_dir DIR  ask everybody who listens in that directory;\n"
         "                    without it, as the file says, else\n"
         "                    $XDG_RUNTIME_DIR/mycelium or "
         "/tmp/mycelium-UID\n"
         "  --node NAME       ask this one only, and others so named; a path\n"
         "                    is that of its socket\n"
         "  --timeout 2s      how long to wait for answers, 10ms to 1m\n"
         "  --json            for programs (docs/diagnosis.md)\n"
         "\n"
         "A node answers its own user and root only, and only nodes that run\n"
         "as one of these two are believed.\n"
         "Nodes of other hosts are asked there.\n"
         "\n"
         "exit status: 0 all are connected; 1 something is not, some or all\n"
         "could not be asked, the file or the directory is wrong, or the "
         "output\n"
         "could not be written; 2 usage\n";
}

CommandResult RunStatusCommand(Environment& environment, const EnvLookup& env,
                               const std::vector<std::string>& words) {
  absl::StatusOr<StatusOptions> options = ParseStatusOptions(words);
  if (!options.ok()) {
    return {kExitUsage, "", absl::StrCat(options.status().message(), "\n")};
  }
  if (options->topology.empty() && options->socket_dir.empty()) {
    options->topology = env(kTopologyVariable).value_or("");
  }
  absl::StatusOr<HostView> view = FindNodes(environment.sys, env, *options);
  if (!view.ok()) return Invalid(view.status());
  if (absl::Status asked = AskNodes(environment, options->timeout, &*view);
      !asked.ok()) {
    return Invalid(asked);
  }
  if (!options->topology.empty() && options->nodes.empty()) {
    ForgetStrangers(&*view);
  }
  std::vector<Problem> problems = Diagnose(*view);
  CommandResult result;
  result.exit_code = problems.empty() ? kExitOk : kExitInvalid;
  result.out =
      options->json ? StatusJson(*view, problems) : StatusText(*view, problems);
  return result;
}

}  // namespace mycelium
