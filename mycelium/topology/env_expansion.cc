#include "mycelium/topology/env_expansion.h"

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "mycelium/topology/nearest_word.h"

namespace mycelium {
namespace {

bool IsVariableName(absl::string_view name) {
  if (name.empty() || absl::ascii_isdigit(name.front())) return false;
  for (unsigned char c : name) {
    if (!absl::ascii_isalnum(c) && c != '_') return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<std::string> ExpandEnv(absl::string_view text,
                                      const EnvLookup& env) {
  std::string expanded;
  while (true) {
    const size_t begin = text.find("${");
    absl::StrAppend(&expanded, text.substr(0, begin));
    if (begin == absl::string_view::npos) return expanded;
    const size_t end = text.find('}', begin);
    if (end == absl::string_view::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"${\" without \"}\" in ", Quoted(text)));
    }
    const std::string name(text.substr(begin + 2, end - begin - 2));
    if (!IsVariableName(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(Quoted(name), " is no name of a variable"));
    }
    const std::optional<std::string> value = env(name);
    if (!value.has_value()) {
      return absl::NotFoundError(
          absl::StrCat("environment variable ", name, " is not set"));
    }
    expanded += *value;
    text.remove_prefix(end + 1);
  }
}

}  // namespace mycelium
