#ifndef MYCELIUM_SCHEMA_VERDICT_H_
#define MYCELIUM_SCHEMA_VERDICT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace mycelium {

// What differs at one place. A rule that forgives some changes can be a table
// over these; today every one is a mismatch, because only equal types match.
enum class DifferenceKind {
  kUnreadable,  // A text is not a canonical text.
  kRoot,        // The texts are about types of different names.
  kTypeForm,    // A plain message or a map entry, an open or a closed enum.
  kMissing,     // A field or enum value that only we have.
  kAdded,       // A field or enum value that only the other side has.
  kNumber,
  kName,
  kType,
  kLabel,
  kOneof,
  kPresence,
  kPacking,
  kDefault,
  kOther,  // The texts differ where no field reaches.
};

struct Difference {
  DifferenceKind kind;
  std::string where;  // market.Quote.price (4)
  std::string what;   // double -> int64
};

// The differences between two canonical texts (canonical_text.h), ours first
// in every arrow, at most `differences_max` of them. Fields come in the order
// of their numbers, those of the root type first, then those of the types that
// its fields reach; so both sides name the same place first. Empty if and only
// if the texts are equal.
//
// Either text may come from a peer: whatever is in it, the result is short and
// printable, and time and memory are linear in kCanonicalTextBytesMax.
//
// Thread safety: may be called from any thread. Texts are borrowed for the
// call.
//
// Example:
//   const std::string difference = FirstDifference(our_text, their_text);
//   // market.Quote.price (4): double -> int64
std::vector<Difference> Differences(absl::string_view ours,
                                    absl::string_view theirs,
                                    size_t differences_max);

// The first of them as `where: what`; empty if and only if the texts are equal.
std::string FirstDifference(absl::string_view ours, absl::string_view theirs);

}  // namespace mycelium

#endif  // MYCELIUM_SCHEMA_VERDICT_H_
