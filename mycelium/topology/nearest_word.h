#ifndef MYCELIUM_TOPOLOGY_NEAREST_WORD_H_
#define MYCELIUM_TOPOLOGY_NEAREST_WORD_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace mycelium {

// The word of `known` that takes the fewest edits (insert, remove, replace or
// swap two neighbours) to become `word`; the first of several. Empty if even
// that word shares too little with `word` to be the one that was meant. Words
// of more than kNearestWordBytesMax bytes are near to nothing, which bounds the
// cost.
inline constexpr size_t kNearestWordBytesMax = 64;
absl::string_view NearestWord(absl::string_view word,
                              absl::Span<const absl::string_view> known);

// "<a>, <b>"; a long list ends in "...".
std::string Listed(absl::Span<const absl::string_view> words);

// What an error message says after an unknown word: "; nearest: <word>", or
// "; known: <a>, <b>" if no known word is near.
std::string NearestHint(absl::string_view word,
                        absl::Span<const absl::string_view> known);

// A text from outside as error messages show it: quoted, with unprintable
// characters escaped, and cut if it is long.
std::string Quoted(absl::string_view text);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_NEAREST_WORD_H_
