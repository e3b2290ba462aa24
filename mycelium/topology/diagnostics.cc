#include "mycelium/topology/diagnostics.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"

namespace mycelium {

Diagnostics::Diagnostics(absl::string_view file_name) : file_name_(file_name) {}

void Diagnostics::Add(SourcePosition position, absl::string_view where,
                      absl::string_view what) {
  errors_.push_back({position, absl::StrCat(where, ": ", what)});
}

absl::Status Diagnostics::ToStatus() const {
  if (errors_.empty()) return absl::OkStatus();
  std::vector<const Error*> sorted;
  for (const Error& error : errors_) sorted.push_back(&error);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Error* a, const Error* b) {
                     return std::tie(a->position.line, a->position.column) <
                            std::tie(b->position.line, b->position.column);
                   });
  std::string text;
  for (const Error* error : sorted) {
    absl::StrAppend(&text, text.empty() ? "" : "\n",
                    PositionText(file_name_, error->position), ": ",
                    error->text);
  }
  return absl::InvalidArgumentError(text);
}

std::string PositionText(absl::string_view file_name, SourcePosition position) {
  return absl::StrCat(file_name, ":", position.line, ":", position.column);
}

}  // namespace mycelium
