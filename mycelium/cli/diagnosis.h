#ifndef MYCELIUM_CLI_DIAGNOSIS_H_
#define MYCELIUM_CLI_DIAGNOSIS_H_

#include <vector>

#include "mycelium/cli/host_view.h"
#include "mycelium/cli/problem.h"

namespace mycelium {

// Why services do not talk, as far as the nodes that were asked can tell. Each
// reason comes once, though both ends know it, in this order: that no node
// runs, or that not all nodes were asked; nodes that do not run or answer, with
// the nodes whose links wait for them; refusals; other links; topics that have
// no other end. If nothing else is known: that no node could be asked.
//
// A snapshot: nodes answer one after another, so a state that is changing may
// look like a fault that the next call does not find.
//
// Thread safety: a pure function.
std::vector<Problem> Diagnose(const HostView& view);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_DIAGNOSIS_H_
