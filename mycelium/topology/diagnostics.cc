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
  const size_t reported = std::min(sorted.size(), kErrorsMax);
  std::string text;
  for (size_t i = 0; i < reported; ++i) {
    absl::StrAppend(&text, i == 0 ? "" : "\n",
                    PositionText(file_name_, sorted[i]->position), ": ",
                    sorted[i]->text);
  }
  if (reported < sorted.size()) {
    absl::StrAppend(&text, "\n", file_name_, ": and ", sorted.size() - reported,
                    " more errors");
  }
  return absl::InvalidArgumentError(text);
}

std::string PositionText(absl::string_view file_name, SourcePosition position) {
  return absl::StrCat(file_name, ":", position.line, ":", position.column);
}

}  // namespace mycelium
