#ifndef MYCELIUM_CLI_TOPOLOGY_COMMAND_H_
#define MYCELIUM_CLI_TOPOLOGY_COMMAND_H_

#include <string>
#include <vector>

#include "mycelium/base/sys.h"
#include "mycelium/topology/environment.h"

namespace mycelium {

// What a subcommand leaves behind; main() prints it and exits.
struct CommandResult {
  int exit_code = 0;
  std::string out;  // For standard output.
  std::string err;  // For standard error.
};

// Exit codes of the `mycelium` command.
inline constexpr int kExitOk = 0;
inline constexpr int kExitInvalid = 1;  // The file, or a name in the question.
inline constexpr int kExitUsage = 2;    // The command line.

// The text that `mycelium --help` prints.
std::string UsageText();

// Runs `mycelium <arguments>`:
//   topology check FILE
//   topology explain FILE FROM TO [--topic TOPIC]
// Blocks for the file only.
CommandResult RunCommand(Sys& sys, const EnvLookup& env,
                         const std::vector<std::string>& arguments);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_TOPOLOGY_COMMAND_H_
