#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "mycelium/base/environment.h"
#include "mycelium/cli/command.h"
#include "mycelium/topology/environment.h"

namespace {

// Whether all of it was taken: a full disk says so when the rest is written.
bool Write(const std::string& text, std::FILE* file) {
  return std::fputs(text.c_str(), file) >= 0 && std::fflush(file) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  // `bazel run` starts it elsewhere, and says where it was typed: that is what
  // a relative path means.
  const char* const typed_in = std::getenv("BUILD_WORKING_DIRECTORY");
  if (typed_in != nullptr && chdir(typed_in) != 0) {
    std::fprintf(stderr, "mycelium: BUILD_WORKING_DIRECTORY %s: %s\n", typed_in,
                 std::strerror(errno));
    return mycelium::kExitInvalid;
  }
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0),
                                           argv + argc);
  const mycelium::CommandResult result = mycelium::RunCommand(
      mycelium::Environment::Real(), mycelium::ProcessEnvironment(), arguments);
  const bool is_said = Write(result.out, stdout);
  if (!is_said) {
    std::fprintf(stderr, "mycelium: standard output: %s\n",
                 std::strerror(errno));
  }
  (void)Write(result.err, stderr);
  if (!is_said && result.exit_code == mycelium::kExitOk) {
    return mycelium::kExitInvalid;
  }
  return result.exit_code;
}
