#ifndef MYCELIUM_CLI_STATUS_TEXT_H_
#define MYCELIUM_CLI_STATUS_TEXT_H_

#include <string>
#include <vector>

#include "mycelium/cli/diagnosis.h"
#include "mycelium/cli/host_view.h"

namespace mycelium {

// What was seen, for people: a block for each node, a table of the flows, and
// at the end which nodes and services do not talk, and why.
std::string StatusText(const HostView& view,
                       const std::vector<Problem>& problems);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_STATUS_TEXT_H_
