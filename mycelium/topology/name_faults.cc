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
  for (size_t i = 0; i < name.size(); ++i) {
    // U+0080 to U+009F are controls too: C2 80 to C2 9F.
    const bool is_late_control =
        name[i] == '\xC2' && static_cast<unsigned char>(name[i + 1]) < 0xA0;
    if (is_late_control ||
        absl::ascii_iscntrl(static_cast<unsigned char>(name[i])) ||
        absl::StrContains(forbidden, name[i])) {
      return absl::StrCat(Quoted(name), " contains ",
                          Quoted(name.substr(i, is_late_control ? 2 : 1)));
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
