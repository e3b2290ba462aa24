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
// doing, and says what came of it. kExitInvalid: something is not
// connected, not all could be asked, or the file or directory is wrong. The
// text of kExitUsage is what was wrong, a line.
//
// Blocks for the file, and for as long as the slowest node, no longer than
// --timeout.
CommandResult RunStatusCommand(Environment& environment, const EnvLookup& env,
                               const std::vector<std::string>& words);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_STATUS_COMMAND_H_
