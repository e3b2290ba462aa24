#ifndef MYCELIUM_TOPOLOGY_DIAGNOSTICS_H_
#define MYCELIUM_TOPOLOGY_DIAGNOSTICS_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "mycelium/topology/source_position.h"

namespace mycelium {

// How many errors of one file are reported.
inline constexpr size_t kErrorsMax = 1000;

// Collects what is wrong with one file, so that its author sees all of it at
// once.
//
// Thread safety: none; one parse, one thread.
//
// Example:
//   Diagnostics diagnostics("topology.toml");
//   diagnostics.Add({14, 13}, "node \"feed\"", "port 0; ...");
//   return diagnostics.ToStatus();
class Diagnostics final {
 public:
  explicit Diagnostics(absl::string_view file_name);

  // `where` names the part of the file, `what` the error with its values.
  void Add(SourcePosition position, absl::string_view where,
           absl::string_view what);

  bool empty() const { return errors_.empty(); }

  // OK, or INVALID_ARGUMENT with one line per error, in the file's order. If
  // there are more than kErrorsMax, it has the first kErrorsMax and a line that
  // counts the rest.
  absl::Status ToStatus() const;

 private:
  struct Error {
    SourcePosition position;
    std::string text;
  };

  const std::string file_name_;
  std::vector<Error> errors_;
};

// "<file>:<line>:<column>"
std::string PositionText(absl::string_view file_name, SourcePosition position);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_DIAGNOSTICS_H_
