#ifndef MYCELIUM_TOPOLOGY_NAME_FAULTS_H_
#define MYCELIUM_TOPOLOGY_NAME_FAULTS_H_

#include <string>

#include "absl/strings/string_view.h"

namespace mycelium {

// What is wrong with a name, as the end of a sentence that begins with the
// named thing: `"a/b" contains "/"`. Empty if nothing is wrong. Names are
// UTF-8, since peers refuse a message that holds anything else, and have no
// control characters, since they stand in logs and metrics.

// For any name: of a topic, a type, a subscription; without a topology also of
// a node or a service. 1 to kTopicBytesMax bytes.
std::string NameFault(absl::string_view name);

// For a node or a service of a topology: 1 to kNameBytesMax bytes that may be
// part of the path of a socket.
std::string TopologyNameFault(absl::string_view name);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_NAME_FAULTS_H_
