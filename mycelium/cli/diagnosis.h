#ifndef MYCELIUM_CLI_DIAGNOSIS_H_
#define MYCELIUM_CLI_DIAGNOSIS_H_

#include <vector>

#include "mycelium/cli/host_view.h"
#include "mycelium/cli/problem.h"

namespace mycelium {

// Why services do not talk, as far as the nodes that were asked tell. Each
// reason once, though both ends know it: first that nobody runs, or that not
// all were asked, then nodes that do not run or answer, with those whose links
// wait for them, then refusals, other links, and topics that have no other end;
// that nobody could be asked, if nothing else is known.
//
// A snapshot: nodes answer one after another, so what is changing may look like
// a fault that the next look does not find.
//
// Thread safety: a pure function.
std::vector<Problem> Diagnose(const HostView& view);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_DIAGNOSIS_H_
