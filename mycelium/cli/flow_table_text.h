#ifndef MYCELIUM_CLI_FLOW_TABLE_TEXT_H_
#define MYCELIUM_CLI_FLOW_TABLE_TEXT_H_

#include <string>

#include "mycelium/cli/host_view.h"

namespace mycelium {

// The flows of all nodes that answered as one table, each flow once: the counts
// of the publisher's node beside those of the subscriber's. A number whose node
// did not answer is a dash. Empty if there are no flows.
std::string FlowTableText(const HostView& view);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_FLOW_TABLE_TEXT_H_
