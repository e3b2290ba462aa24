#ifndef MYCELIUM_TESTS_MODEL_SCENARIOS_H_
#define MYCELIUM_TESTS_MODEL_SCENARIOS_H_

#include <string>
#include <vector>

#include "tests/model/explorer.h"

namespace mycelium::model {

struct NamedScenario {
  std::string name;
  Explorer::Make make;
};

std::vector<NamedScenario> LosslessScenarios();
std::vector<NamedScenario> LossyScenarios();
std::vector<NamedScenario> BiasScenarios();

}  // namespace mycelium::model

#endif  // MYCELIUM_TESTS_MODEL_SCENARIOS_H_
