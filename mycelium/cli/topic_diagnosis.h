#ifndef MYCELIUM_CLI_TOPIC_DIAGNOSIS_H_
#define MYCELIUM_CLI_TOPIC_DIAGNOSIS_H_

#include <vector>

#include "mycelium/cli/host_view.h"
#include "mycelium/cli/problem.h"

namespace mycelium {

// The part of Diagnose() that is about topics: topics with one end only, and
// pairs of ends that are not joined although neither a refusal nor a link that
// is down explains it.
void AddTopicProblems(const HostView& view, std::vector<Problem>* problems);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_TOPIC_DIAGNOSIS_H_
