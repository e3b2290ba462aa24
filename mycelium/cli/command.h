#ifndef MYCELIUM_CLI_COMMAND_H_
#define MYCELIUM_CLI_COMMAND_H_

#include <string>
#include <vector>

#include "mycelium/base/environment.h"
#include "mycelium/cli/command_result.h"
#include "mycelium/topology/environment.h"

namespace mycelium {

// The text that `mycelium --help` prints.
std::string UsageText();

// Runs `mycelium <arguments>`:
//   topology …    topology_command.h
//   status …      status_command.h
//   --version
// Blocks for a file, or for the nodes that are asked.
CommandResult RunCommand(Environment& environment, const EnvLookup& env,
                         const std::vector<std::string>& arguments);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_COMMAND_H_
