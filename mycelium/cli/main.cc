#include <cstdio>
#include <string>
#include <vector>

#include "mycelium/base/environment.h"
#include "mycelium/cli/command.h"
#include "mycelium/topology/environment.h"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0),
                                           argv + argc);
  const mycelium::CommandResult result = mycelium::RunCommand(
      mycelium::Environment::Real(), mycelium::ProcessEnvironment(), arguments);
  std::fputs(result.out.c_str(), stdout);
  std::fputs(result.err.c_str(), stderr);
  return result.exit_code;
}
