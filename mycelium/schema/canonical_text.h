#ifndef MYCELIUM_SCHEMA_CANONICAL_TEXT_H_
#define MYCELIUM_SCHEMA_CANONICAL_TEXT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"

namespace mycelium {

// The first line of every canonical text. Its number is raised when a text
// would mean something else than before; that changes every digest.
inline constexpr absl::string_view kCanonicalTextHeader = "mycelium.schema 1";

// Everything about `type`, and about the types its fields reach, that changes
// what its bytes mean; nothing else. Two descriptors with equal texts may
// exchange messages. Digests are taken of this text. It is made of lines so
// that `diff` explains two digests that differ.
//
// One line names the root. Then come the types in the order of their full
// names, each followed by its fields in the order of their numbers, or by its
// enum values in the order of number, then name:
//
//   mycelium.schema 1
//   root market.Quote
//   message market.Quote
//     1 symbol optional string presence=implicit
//     2 side optional enum market.Side presence=implicit
//     3 levels repeated double packing=packed
//   enum market.Side open
//     0 SIDE_UNSPECIFIED
//     1 SIDE_BUY
//
// docs/schema.md says what each word stands for, and what is left out.
//
// Nested and recursive types are fine. Cost is linear in the size of the text;
// compute it once per type. Borrows `type` for the call.
//
// Thread safety: may be called from any thread.
std::string CanonicalText(const google::protobuf::Descriptor& type);

}  // namespace mycelium

#endif  // MYCELIUM_SCHEMA_CANONICAL_TEXT_H_
