#include "mycelium/cli/command.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mycelium/base/version.h"
#include "mycelium/cli/status_command.h"
#include "mycelium/cli/topology_command.h"

namespace mycelium {
namespace {

constexpr absl::string_view kKnown = "known: topology, status";

CommandResult UsageError(absl::string_view what) {
  return {kExitUsage, "", absl::StrCat(what, "\n")};
}

}  // namespace

std::string UsageText() {
  return absl::StrCat(
      "usage: mycelium topology check FILE\n"
      "       mycelium topology explain FILE FROM TO [--topic TOPIC]\n"
      "       mycelium status [--topology FILE] [--socket_dir DIR]\n"
      "                       [--node NAME]... [--timeout 2s] [--json]\n"
      "       mycelium --version\n"
      "\n"
      "  check    reports every error in a topology file\n"
      "  explain  says how messages travel from one service (or node) to\n"
      "           another, and which rule of the file decided it\n"
      "  status   asks the running nodes of this host whom they are connected\n"
      "           to, and says who does not talk to whom, and why; more with\n"
      "           mycelium status --help\n"
      "\n"
      "exit status: 0 fine, 1 the file or a name is wrong, or something is\n"
      "not connected, 2 usage\n");
}

CommandResult RunCommand(Environment& environment, const EnvLookup& env,
                         const std::vector<std::string>& arguments) {
  const auto run = [&]() -> CommandResult {
    if (arguments.empty()) {
      return UsageError(absl::StrCat("no command; ", kKnown));
    }
    const std::string& command = arguments[0];
    const std::vector<std::string> words(arguments.begin() + 1,
                                         arguments.end());
    if (command == "--help" || command == "help") {
      return {kExitOk, UsageText(), ""};
    }
    if (command == "--version") {
      return {kExitOk, absl::StrCat("mycelium ", Version(), "\n"), ""};
    }
    const bool asks_for_help =
        std::find(words.begin(), words.end(), "--help") != words.end();
    if (command == "topology") {
      if (asks_for_help) return {kExitOk, UsageText(), ""};
      return RunTopologyCommand(environment.sys, env, words);
    }
    if (command == "status") {
      if (asks_for_help) return {kExitOk, StatusUsageText(), ""};
      return RunStatusCommand(environment, env, words);
    }
    return UsageError(absl::StrCat("unknown command ", command, "; ", kKnown));
  };
  CommandResult result = run();
  if (result.exit_code == kExitUsage) {
    result.err = absl::StrCat("mycelium: ", result.err, UsageText());
  }
  return result;
}

}  // namespace mycelium
