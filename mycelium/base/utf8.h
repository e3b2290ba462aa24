#ifndef MYCELIUM_BASE_UTF8_H_
#define MYCELIUM_BASE_UTF8_H_

#include <string>

#include "absl/strings/string_view.h"

namespace mycelium {

// Names are UTF-8, paths are whatever bytes a file system takes. Where text
// must be UTF-8, in JSON and in `string` fields of Protobuf, a reader refuses
// all of it otherwise.

// Whether a peer takes `text` in a `string` field: as Protobuf says when it
// parses one. Neither surrogates nor longer forms than needed are UTF-8.
bool IsUtf8(absl::string_view text);

// `text` with each byte that belongs to no character of UTF-8 written as \xff:
// what is UTF-8 already stays as it is, backslashes too. For people: the bytes
// cannot be told from the same text written by hand.
std::string EscapedUtf8(absl::string_view text);

}  // namespace mycelium

#endif  // MYCELIUM_BASE_UTF8_H_
