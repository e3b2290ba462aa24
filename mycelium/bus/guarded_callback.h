#ifndef MYCELIUM_BUS_GUARDED_CALLBACK_H_
#define MYCELIUM_BUS_GUARDED_CALLBACK_H_

#include <cstddef>
#include <exception>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mycelium/base/harmless.h"
#include "mycelium/base/log.h"

namespace mycelium {

inline constexpr size_t kLogBytesMax = 8 * 1024;

// The same sink made safe. Null logs nothing. An exception goes no further and
// is lost, since there is nowhere to report it. Text from peers in a message
// cannot begin a line of its own, and a message has a bound: kLogBytesMax.
inline LogSink Guarded(LogSink log) {
  if (log == nullptr) return [](LogLevel, absl::string_view) {};
  return [log = std::move(log)](LogLevel level, absl::string_view message) {
    try {
      log(level, Harmless(message, kLogBytesMax));
    } catch (...) {
    }
  };
}

// A user's callback for threads that must not be unwound: the loop, or a thread
// that makes room. An exception becomes an error in the log that says `name`,
// and goes no further. Null stays null.
//
// REQUIRES: `log` is Guarded().
//
// Example:
//   options.on_flow = Guarded("on_flow", std::move(options.on_flow), log);
template <typename... Arguments>
std::function<void(Arguments...)> Guarded(
    std::string name, std::function<void(Arguments...)> callback, LogSink log) {
  if (callback == nullptr) return nullptr;
  return [name = std::move(name), callback = std::move(callback),
          log = std::move(log)](Arguments... arguments) {
    const auto report = [&](const char* what) {
      log(LogLevel::kError, absl::StrCat(name, " threw: ", what));
    };
    try {
      callback(std::forward<Arguments>(arguments)...);
    } catch (const std::exception& error) {
      report(error.what());
    } catch (...) {
      report("an exception that is no std::exception");
    }
  };
}

}  // namespace mycelium

#endif  // MYCELIUM_BUS_GUARDED_CALLBACK_H_
