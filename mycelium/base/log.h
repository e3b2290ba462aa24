#ifndef MYCELIUM_BASE_LOG_H_
#define MYCELIUM_BASE_LOG_H_

#include <functional>

#include "absl/strings/string_view.h"

namespace mycelium {

enum class LogLevel { kInfo, kWarning, kError };

// Where a node reports what nobody asked for: lost links, refused peers,
// dropped messages. Called from any thread, from several at once; must not
// block or call back into the bus. The message is one line of about 8 KiB at
// most, without control characters, whatever a peer has said. Valid for the
// call.
using LogSink = std::function<void(LogLevel level, absl::string_view message)>;

// Writes "mycelium: warning: <message>" lines to standard error.
LogSink StderrLog();

}  // namespace mycelium

#endif  // MYCELIUM_BASE_LOG_H_
