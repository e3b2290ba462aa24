// Explores scenarios of rings and locks and prints how much it explored.
// Arguments: the scenarios' names, or none for all. `--executions=N`: no more
// than N executions of each; if that is too few, the program says that the
// scenario is not complete, and fails. `--first`: end with the first scenario
// that fails.
//
// Exit status: 0 if every law holds in every execution.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/model/scenarios.h"

namespace mycelium::model {
namespace {

constexpr uint64_t kExecutionsMax = 100'000'000;

bool IsAsked(const std::string& name, int argc, char** argv) {
  bool any = false;
  for (int i = 1; i < argc; ++i) {
    if (argv[i][0] == '-') continue;
    any = true;
    if (name.rfind(argv[i], 0) == 0) return true;
  }
  return !any;
}

int Main(int argc, char** argv) {
#ifndef MYCELIUM_SHARED_WORD_HOOKS
  std::printf("built without hooks: this sees nothing\n");
  return 1;
#endif
  uint64_t executions_max = kExecutionsMax;
  bool is_first_enough = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--first") == 0) is_first_enough = true;
    if (std::strncmp(argv[i], "--executions=", 13) == 0) {
      executions_max = std::strtoull(argv[i] + 13, nullptr, 10);
    }
  }
  std::vector<NamedScenario> scenarios = LosslessScenarios();
  for (auto more : {&LossyScenarios, &BiasScenarios}) {
    for (NamedScenario& scenario : more()) {
      scenarios.push_back(std::move(scenario));
    }
  }
  Explorer explorer;
  int explored = 0;
  int failed = 0;
  for (const NamedScenario& scenario : scenarios) {
    if (!IsAsked(scenario.name, argc, argv)) continue;
    ++explored;
    const Explorer::Outcome outcome =
        explorer.Explore(scenario.make, executions_max);
    std::printf("%s: %llu executions, %llu states: %s\n", scenario.name.c_str(),
                static_cast<unsigned long long>(outcome.executions),
                static_cast<unsigned long long>(outcome.states),
                outcome.failed     ? outcome.what.c_str()
                : outcome.complete ? "all laws hold"
                                   : "NOT COMPLETE");
    std::fflush(stdout);
    if (!outcome.failed && outcome.complete) continue;
    ++failed;
    for (const std::string& event : outcome.trace) {
      std::printf("    %s\n", event.c_str());
    }
    if (is_first_enough) break;
  }
  if (explored == 0) std::printf("there is no such scenario\n");
  return explored > 0 && failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace mycelium::model

int main(int argc, char** argv) { return mycelium::model::Main(argc, argv); }
