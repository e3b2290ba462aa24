#ifndef MYCELIUM_CLI_STATUS_COMMAND_H_
#define MYCELIUM_CLI_STATUS_COMMAND_H_

#include <string>
#include <vector>

#include "mycelium/base/environment.h"
#include "mycelium/cli/command_result.h"
#include "mycelium/topology/environment.h"

namespace mycelium {

// The text that `mycelium status --help` prints.
std::string StatusUsageText();

// Runs `mycelium status <words>`: asks the nodes of this host what they are
// doing, and reports the answers. kExitInvalid: something is not connected, not
// all nodes could be asked, or the file or directory is wrong. The text of
// kExitUsage is one line that says what was wrong.
//
// Blocks for the file, and for as long as the slowest node takes, at most
// --timeout.
CommandResult RunStatusCommand(Environment& environment, const EnvLookup& env,
                               const std::vector<std::string>& words);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_STATUS_COMMAND_H_
