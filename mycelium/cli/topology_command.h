#ifndef MYCELIUM_CLI_TOPOLOGY_COMMAND_H_
#define MYCELIUM_CLI_TOPOLOGY_COMMAND_H_

#include <string>
#include <vector>

#include "mycelium/base/sys.h"
#include "mycelium/cli/command_result.h"
#include "mycelium/topology/environment.h"

namespace mycelium {

// Runs `mycelium topology <words>`:
//   check FILE
//   explain FILE FROM TO [--topic TOPIC]
// Blocks for the file only. The text of kExitUsage is one line that says what
// was wrong.
CommandResult RunTopologyCommand(Sys& sys, const EnvLookup& env,
                                 const std::vector<std::string>& words);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_TOPOLOGY_COMMAND_H_
