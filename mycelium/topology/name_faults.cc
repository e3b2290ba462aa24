#include "mycelium/topology/name_faults.h"

#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mycelium/base/utf8.h"
#include "mycelium/topology/nearest_word.h"
#include "mycelium/topology/topology.h"

namespace mycelium {
namespace {

std::string TextFault(absl::string_view name, size_t bytes_max,
                      absl::string_view forbidden) {
  if (name.empty()) return "is empty";
  if (name.size() > bytes_max) {
    return absl::StrCat(Quoted(name), " has ", name.size(), " bytes; at most ",
                        bytes_max);
  }
  if (!IsUtf8(name)) {
    return absl::StrCat("\"", absl::CEscape(name), "\" is not UTF-8");
  }
  for (const char c : name) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c)) ||
        absl::StrContains(forbidden, c)) {
      return absl::StrCat(Quoted(name), " contains ",
                          Quoted(absl::string_view(&c, 1)));
    }
  }
  return "";
}

}  // namespace

std::string NameFault(absl::string_view name) {
  return TextFault(name, kTopicBytesMax, "");
}

std::string TopologyNameFault(absl::string_view name) {
  if (absl::StrContains(name, "..")) {
    return absl::StrCat(Quoted(name), " contains \"..\"");
  }
  if (name == ".") return "\".\" is a directory";
  return TextFault(name, kNameBytesMax, "/*$");
}

}  // namespace mycelium
