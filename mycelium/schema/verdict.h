#ifndef MYCELIUM_SCHEMA_VERDICT_H_
#define MYCELIUM_SCHEMA_VERDICT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace mycelium {

// What differs at one place.
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
  kValues,  // Whether numbers that an open enum does not know are shown.
  kDefault,
  kOther,  // The texts differ where no field reaches.
};

struct Difference {
  DifferenceKind kind;
  std::string where;  // market.Quote.price (4)
  std::string what;   // double -> int64
  // Despite the difference, both sides read in the same way what both know.
  // Such differences are: one more or one less field that is not required, one
  // more or one less value of an open enum, the packing, and the presence in an
  // entry of a map.
  bool compatible = false;

  std::string ToString() const { return where + ": " + what; }
};

// The differences between two canonical texts (canonical_text.h), ours first
// in every arrow, at most `differences_max` of them. Fields come in the order
// of their numbers, those of the root type first, then those of the types that
// its fields reach, and last the values of enums. So both sides name the same
// place first. Empty if and only if the texts are equal.
//
// Either text may come from a peer: whatever it contains, the result is short
// and printable, and time and memory are linear in kCanonicalTextBytesMax.
//
// Thread safety: may be called from any thread. Texts are borrowed for the
// call.
std::vector<Difference> Differences(absl::string_view ours,
                                    absl::string_view theirs,
                                    size_t differences_max);

// Two versions of a type.
struct Verdict {
  enum class Kind {
    kExact,
    kCompatible,  // All differences are compatible.
    kIncompatible,
  };
  Kind kind = Kind::kExact;
  // The first difference that is not compatible; if all are compatible, the
  // first one. Empty if and only if there is no difference.
  std::string difference;
};

// As Differences(), and the verdict is the same from either side. The rules are
// those of the table in docs/schema.md: a reader of a message of another
// version finds each field that both know as it was written, set or not.
//
// Example:
//   Verdict verdict = CompareVersions(our_text, their_text);
//   // kIncompatible, "market.Quote.price (4): double -> int64"
Verdict CompareVersions(absl::string_view ours, absl::string_view theirs);

}  // namespace mycelium

#endif  // MYCELIUM_SCHEMA_VERDICT_H_
