#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/typed_in.h"
#include "mycelium/cli/command.h"
#include "mycelium/topology/environment.h"

namespace {

// Whether all of it was taken: a full disk says so when the rest is written.
bool Write(const std::string& text, std::FILE* file) {
  return std::fputs(text.c_str(), file) >= 0 && std::fflush(file) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (const absl::Status entered = mycelium::EnterDirectoryTypedIn();
      !entered.ok()) {
    (void)Write(absl::StrCat("mycelium: ", entered.message(), "\n"), stderr);
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
