#ifndef MYCELIUM_CLI_COMMAND_RESULT_H_
#define MYCELIUM_CLI_COMMAND_RESULT_H_

#include <string>

namespace mycelium {

// What a subcommand leaves behind; main() prints it and exits.
struct CommandResult {
  int exit_code = 0;
  std::string out;  // For standard output.
  std::string err;  // For standard error.
};

// Exit codes of the `mycelium` command.
inline constexpr int kExitOk = 0;
// The file, or a name in the question, is wrong; some nodes or services do not
// talk to each other; or standard output cannot be written.
inline constexpr int kExitInvalid = 1;
inline constexpr int kExitUsage = 2;  // The command line.

}  // namespace mycelium

#endif  // MYCELIUM_CLI_COMMAND_RESULT_H_
