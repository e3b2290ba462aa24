#ifndef MYCELIUM_CLI_STATUS_JSON_H_
#define MYCELIUM_CLI_STATUS_JSON_H_

#include <string>
#include <vector>

#include "mycelium/cli/diagnosis.h"
#include "mycelium/cli/host_view.h"

namespace mycelium {

// What was seen, and what is wrong with it, as JSON. docs/diagnosis.md lists
// the members.
std::string StatusJson(const HostView& view,
                       const std::vector<Problem>& problems);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_STATUS_JSON_H_
