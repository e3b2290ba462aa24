#include "mycelium/topology/nearest_word.h"

#include <algorithm>
#include <array>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace mycelium {
namespace {

constexpr size_t kListedWordsMax = 24;
constexpr size_t kQuotedBytesMax = 80;

// Optimal string alignment, three rows of the table at a time.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::array<std::array<size_t, kNearestWordBytesMax + 1>, 3> rows;
  for (size_t j = 0; j <= b.size(); ++j) rows[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    const auto& above_two = rows[(i + 1) % 3];
    const auto& above = rows[(i + 2) % 3];
    auto& row = rows[i % 3];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], above_two[j - 2] + 1);
      }
    }
  }
  return rows[a.size() % 3][b.size()];
}

}  // namespace

absl::string_view NearestWord(absl::string_view word,
                              absl::Span<const absl::string_view> known) {
  if (word.size() > kNearestWordBytesMax) return {};
  absl::string_view nearest;
  size_t nearest_distance = kNearestWordBytesMax + 1;
  for (absl::string_view candidate : known) {
    if (candidate.size() > kNearestWordBytesMax) continue;
    const size_t distance = EditDistance(word, candidate);
    // More than half of the letters changed is another word.
    if (distance > std::max(word.size(), candidate.size()) / 2) continue;
    if (distance >= nearest_distance) continue;
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
  return absl::StrCat("\"", absl::Utf8SafeCEscape(text), cut ? "..." : "",
                      "\"");
}

}  // namespace mycelium
