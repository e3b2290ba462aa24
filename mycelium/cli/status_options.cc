#include "mycelium/cli/status_options.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace mycelium {
namespace {

absl::Status Wrong(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("status: ", what));
}

// The value of `option` if `words[*at]` is that option. The value may be the
// next word.
std::optional<absl::StatusOr<std::string>> ValueOf(
    absl::string_view option, const std::vector<std::string>& words,
    size_t* at) {
  absl::string_view word = words[*at];
  if (!absl::ConsumePrefix(&word, option)) return std::nullopt;
  const bool is_joined = absl::ConsumePrefix(&word, "=");
  if (!is_joined && !word.empty()) return std::nullopt;
  if (!is_joined && *at + 1 < words.size()) word = words[++*at];
  if (word.empty()) return Wrong(absl::StrCat(option, " needs a value"));
  return std::string(word);
}

absl::Status SetTimeout(const std::string& text, absl::Duration* timeout) {
  if (absl::ParseDuration(text, timeout) && *timeout >= kStatusTimeoutMin &&
      *timeout <= kStatusTimeoutMax) {
    return absl::OkStatus();
  }
  return Wrong(absl::StrCat("--timeout ", text, " is no time from ",
                            absl::FormatDuration(kStatusTimeoutMin), " to ",
                            absl::FormatDuration(kStatusTimeoutMax)));
}

}  // namespace

absl::StatusOr<StatusOptions> ParseStatusOptions(
    const std::vector<std::string>& words) {
  StatusOptions options;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--json") {
      options.json = true;
    } else if (const auto file = ValueOf("--topology", words, &i)) {
      if (!file->ok()) return file->status();
      options.topology = **file;
    } else if (const auto directory = ValueOf("--socket_dir", words, &i)) {
      if (!directory->ok()) return directory->status();
      options.socket_dir = **directory;
    } else if (const auto node = ValueOf("--node", words, &i)) {
      if (!node->ok()) return node->status();
      options.nodes.push_back(**node);
    } else if (const auto timeout = ValueOf("--timeout", words, &i)) {
      if (!timeout->ok()) return timeout->status();
      if (absl::Status set = SetTimeout(**timeout, &options.timeout);
          !set.ok()) {
        return set;
      }
    } else {
      return Wrong(absl::StrCat("unknown word ", words[i],
                                "; known: --topology, --socket_dir, --node, "
                                "--timeout, --json"));
    }
  }
  return options;
}

}  // namespace mycelium
