#ifndef MYCELIUM_CLI_ASK_NODES_H_
#define MYCELIUM_CLI_ASK_NODES_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mycelium/base/environment.h"
#include "mycelium/cli/host_view.h"

namespace mycelium {

// How many nodes are asked at a time. Each takes two descriptors, of which a
// process often may have 1024.
inline constexpr size_t kAskedAtOnceMax = 256;

// Asks the nodes of `view` that are not kNotAsked what they are doing, as many
// at a time as there may be, and puts what came of it in their place.
//
// Blocks for as long as the slowest of them, no longer than `timeout` for all
// together. Who did not come up for lack of answers from the others is
// kUnclear.
absl::Status AskNodes(Environment& environment, absl::Duration timeout,
                      HostView* view);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_ASK_NODES_H_
