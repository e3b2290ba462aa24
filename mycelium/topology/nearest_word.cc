#include "mycelium/topology/nearest_word.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace mycelium {
namespace {

constexpr size_t kListedWordsMax = 24;
constexpr size_t kQuotedBytesMax = 80;

// Optimal string alignment, three rows of the table at a time; `limit` if it is
// that or more.
size_t EditDistance(absl::string_view a, absl::string_view b, size_t limit) {
  size_t rows[3][kNearestWordBytesMax + 1];
  for (size_t j = 0; j <= b.size(); ++j) rows[0][j] = j;
  size_t least_above = 0;
  for (size_t i = 1; i <= a.size(); ++i) {
    const size_t* const above_two = rows[(i + 1) % 3];
    const size_t* const above = rows[(i + 2) % 3];
    size_t* const row = rows[i % 3];
    row[0] = i;
    size_t least = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t edits = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      if (above[j] + 1 < edits) edits = above[j] + 1;
      if (row[j - 1] + 1 < edits) edits = row[j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
          above_two[j - 2] + 1 < edits) {
        edits = above_two[j - 2] + 1;
      }
      row[j] = edits;
      if (edits < least) least = edits;
    }
    // The rows below are made of these two, and have no less.
    if (least >= limit && least_above >= limit) return limit;
    least_above = least;
  }
  return std::min(limit, rows[a.size() % 3][b.size()]);
}

}  // namespace

absl::string_view NearestWord(absl::string_view word,
                              absl::Span<const absl::string_view> known) {
  if (word.size() > kNearestWordBytesMax) return {};
  absl::string_view nearest;
  size_t nearest_distance = kNearestWordBytesMax + 1;
  for (absl::string_view candidate : known) {
    if (candidate.size() > kNearestWordBytesMax) continue;
    // More than half of the letters changed is another word.
    const size_t limit = std::min(
        nearest_distance, std::max(word.size(), candidate.size()) / 2 + 1);
    const size_t distance = EditDistance(word, candidate, limit);
    if (distance >= limit) continue;
    nearest_distance = distance;
    nearest = candidate;
  }
  return nearest;
}

std::string Listed(absl::Span<const absl::string_view> words) {
  return absl::StrCat(absl::StrJoin(words.subspan(0, kListedWordsMax), ", "),
                      words.size() > kListedWordsMax ? ", ..." : "");
}

std::string NearestHint(absl::string_view word,
                        absl::Span<const absl::string_view> known) {
  const absl::string_view nearest = NearestWord(word, known);
  if (!nearest.empty()) return absl::StrCat("; nearest: ", nearest);
  return known.empty() ? "" : absl::StrCat("; known: ", Listed(known));
}

std::string Quoted(absl::string_view text) {
  const bool cut = text.size() > kQuotedBytesMax;
  if (cut) {
    text = text.substr(0, kQuotedBytesMax);
    // Not in the middle of a character.
    while (!text.empty() && (text.back() & 0xC0) == 0x80) text.remove_suffix(1);
    if (!text.empty() && (text.back() & 0x80) != 0) text.remove_suffix(1);
  }
  std::string escaped = absl::Utf8SafeCEscape(text);
  // It leaves U+0080 to U+009F, which are controls: C2 80 to C2 9F.
  for (size_t at = escaped.find('\xC2'); at != std::string::npos;
       at = escaped.find('\xC2', at + 1)) {
    const std::string character = escaped.substr(at, 2);
    if (static_cast<unsigned char>(character.back()) >= 0xA0) continue;
    escaped.replace(at, 2, absl::CEscape(character));
  }
  return absl::StrCat("\"", escaped, cut ? "..." : "", "\"");
}

}  // namespace mycelium
