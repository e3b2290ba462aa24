#ifndef MYCELIUM_CLI_PROBLEM_H_
#define MYCELIUM_CLI_PROBLEM_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace mycelium {

// One reason why two services or nodes do not talk to each other.
struct Problem {
  // For programs; docs/diagnosis.md lists them.
  std::string kind;
  std::string node;
  std::string peer;   // The node at the other end; may be empty.
  std::string topic;  // May be empty.
  std::string text;   // For people.
};

// Adds a problem unless one with the same text is known: two publishers of one
// service to one topic have the same problem.
inline void AddProblem(Problem problem, std::vector<Problem>* problems) {
  for (const Problem& known : *problems) {
    if (known.text == problem.text) return;
  }
  problems->push_back(std::move(problem));
}

// "service watch of node control"
inline std::string ServiceOf(absl::string_view service,
                             absl::string_view node) {
  return absl::StrCat("service ", service, " of node ", node);
}

}  // namespace mycelium

#endif  // MYCELIUM_CLI_PROBLEM_H_
