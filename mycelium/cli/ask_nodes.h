#ifndef MYCELIUM_CLI_ASK_NODES_H_
#define MYCELIUM_CLI_ASK_NODES_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mycelium/base/environment.h"
#include "mycelium/cli/host_view.h"

namespace mycelium {

// How many nodes are asked at a time. Each takes two descriptors, and a process
// often may have only 1024.
inline constexpr size_t kAskedAtOnceMax = 256;

// Asks the nodes of `view` that are not kNotAsked what they are doing, up to
// kAskedAtOnceMax at a time, and replaces each of them with the result.
//
// Blocks for as long as the slowest node takes, at most `timeout` for all
// together. A node whose turn did not come, because others did not answer, is
// kUnclear.
absl::Status AskNodes(Environment& environment, absl::Duration timeout,
                      HostView* view);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_ASK_NODES_H_
