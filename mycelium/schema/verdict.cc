#include "mycelium/schema/verdict.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <iterator>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mycelium/schema/canonical_text_parser.h"

namespace mycelium {
namespace {

using Field = ParsedText::Field;
using Type = ParsedText::Type;
using Value = ParsedText::Value;

// The longest part of a text that is repeated in a difference.
constexpr size_t kShownBytesMax = 128;

std::string Shown(absl::string_view word) {
  if (word.empty()) return "none";
  if (word.size() <= kShownBytesMax) return std::string(word);
  return absl::StrCat(word.substr(0, kShownBytesMax), "...");
}

std::string Change(absl::string_view ours, absl::string_view theirs) {
  std::string from = Shown(ours);
  std::string to = Shown(theirs);
  if (from == to) {  // They differ behind what is shown.
    absl::StrAppend(&from, " (", ours.size(), " bytes)");
    absl::StrAppend(&to, " (", theirs.size(), " bytes)");
  }
  return absl::StrCat(from, " -> ", to);
}

std::string TypeWords(const Field& field) {
  if (field.type_name.empty()) return std::string(field.type);
  if (field.type == "message") return std::string(field.type_name);
  return absl::StrCat(field.type, " ", field.type_name);
}

using Numbers = absl::flat_hash_map<absl::string_view, int32_t>;

template <typename Member>
Numbers NumbersByName(const std::vector<Member>& members) {
  Numbers numbers;
  for (const Member& member : members) {
    numbers.insert({member.name, member.number});
  }
  return numbers;
}

// The names that `values` give to `number`, taken from `*next` on; sorted.
std::vector<absl::string_view> TakeNames(
    int32_t number, const std::vector<Value>& values,
    std::vector<Value>::const_iterator* next) {
  std::vector<absl::string_view> names;
  for (; *next != values.end() && (*next)->number == number; ++*next) {
    names.push_back((*next)->name);
  }
  return names;
}

std::vector<absl::string_view> Without(
    const std::vector<absl::string_view>& names,
    const std::vector<absl::string_view>& others) {
  std::vector<absl::string_view> left;
  absl::c_set_difference(names, others, std::back_inserter(left));
  return left;
}

// Walks two texts side by side and collects what differs.
class Comparison final {
 public:
  Comparison(const ParsedText& ours, const ParsedText& theirs,
             size_t differences_max)
      : ours_(ours), theirs_(theirs), differences_max_(differences_max) {}

  std::vector<Difference> Run() &&;

 private:
  // A field or value whose number, on the other side, has not its name.
  struct Lone {
    absl::string_view name;
    int32_t number;
    bool is_ours;
  };

  bool IsDone() const { return found_.size() >= differences_max_; }
  void Add(DifferenceKind kind, std::string where, std::string what);
  void AddMember(DifferenceKind kind, const Type& type, absl::string_view name,
                 int32_t number, std::string what);
  void AddLone(const Type& type, const Lone& lone,
               const Numbers& other_numbers);

  void CompareTypes(const Type& ours, const Type& theirs);
  void CompareFields(const Type& ours, const Type& theirs);
  void CompareField(const Type& type, const Field& ours, const Field& theirs);
  void CompareValues(const Type& ours, const Type& theirs);

  const ParsedText& ours_;
  const ParsedText& theirs_;
  const size_t differences_max_;
  std::vector<Difference> found_;
  std::deque<absl::string_view> pending_;
  absl::flat_hash_set<absl::string_view> reached_;
  // Names of the present type whose change of number was told already.
  absl::flat_hash_set<absl::string_view> moved_;
};

void Comparison::Add(DifferenceKind kind, std::string where, std::string what) {
  if (IsDone()) return;
  found_.push_back({kind, std::move(where), std::move(what)});
}

void Comparison::AddMember(DifferenceKind kind, const Type& type,
                           absl::string_view name, int32_t number,
                           std::string what) {
  Add(kind, absl::StrCat(Shown(type.name), ".", Shown(name), " (", number, ")"),
      std::move(what));
}

std::vector<Difference> Comparison::Run() && {
  if (ours_.root != theirs_.root) {
    Add(DifferenceKind::kRoot, "type", Change(ours_.root, theirs_.root));
    return std::move(found_);
  }
  pending_.push_back(ours_.root);
  reached_.insert(ours_.root);
  while (!pending_.empty() && !IsDone()) {
    const absl::string_view name = pending_.front();
    pending_.pop_front();
    CompareTypes(*ours_.Find(name), *theirs_.Find(name));
  }
  return std::move(found_);
}

// One that turns up under another number has moved; that is told once, though
// both numbers are come across.
void Comparison::AddLone(const Type& type, const Lone& lone,
                         const Numbers& other_numbers) {
  const auto moved = other_numbers.find(lone.name);
  if (moved == other_numbers.end()) {
    AddMember(
        lone.is_ours ? DifferenceKind::kMissing : DifferenceKind::kAdded, type,
        lone.name, lone.number,
        lone.is_ours ? "missing on the other side" : "missing on this side");
    return;
  }
  if (!moved_.insert(lone.name).second) return;
  const int32_t from = lone.is_ours ? lone.number : moved->second;
  const int32_t to = lone.is_ours ? moved->second : lone.number;
  AddMember(DifferenceKind::kNumber, type, lone.name, from,
            absl::StrCat("number ", from, " -> ", to));
}

void Comparison::CompareTypes(const Type& ours, const Type& theirs) {
  moved_.clear();
  // A field that names a type says whether it is an enum, and was compared.
  if (ours.mark != theirs.mark) {
    Add(DifferenceKind::kTypeForm, Shown(ours.name),
        Change(ours.mark, theirs.mark));
  }
  if (ours.is_enum) {
    CompareValues(ours, theirs);
  } else {
    CompareFields(ours, theirs);
  }
}

void Comparison::CompareFields(const Type& ours, const Type& theirs) {
  const Numbers our_numbers = NumbersByName(ours.fields);
  const Numbers their_numbers = NumbersByName(theirs.fields);
  auto our = ours.fields.begin();
  auto their = theirs.fields.begin();
  while (our != ours.fields.end() || their != theirs.fields.end()) {
    const bool has_our = our != ours.fields.end();
    const bool has_their = their != theirs.fields.end();
    if (has_our && has_their && our->number == their->number) {
      CompareField(ours, *our++, *their++);
    } else if (has_our && (!has_their || our->number < their->number)) {
      AddLone(ours, {our->name, our->number, true}, their_numbers);
      ++our;
    } else {
      AddLone(ours, {their->name, their->number, false}, our_numbers);
      ++their;
    }
  }
}

void Comparison::CompareField(const Type& type, const Field& ours,
                              const Field& theirs) {
  const auto compare = [&](DifferenceKind kind, absl::string_view prefix,
                           absl::string_view our_word,
                           absl::string_view their_word) {
    if (our_word == their_word) return;
    AddMember(kind, type, ours.name, ours.number,
              absl::StrCat(prefix, Change(our_word, their_word)));
  };
  compare(DifferenceKind::kName, "name ", ours.name, theirs.name);
  compare(DifferenceKind::kType, "", TypeWords(ours), TypeWords(theirs));
  compare(DifferenceKind::kLabel, "label ", ours.label, theirs.label);
  compare(DifferenceKind::kOneof, "oneof ", ours.oneof, theirs.oneof);
  compare(DifferenceKind::kPresence, "presence ", ours.presence,
          theirs.presence);
  compare(DifferenceKind::kPacking, "packing ", ours.packing, theirs.packing);
  compare(DifferenceKind::kDefault, "default ", ours.default_value,
          theirs.default_value);

  if (ours.type_name.empty() || TypeWords(ours) != TypeWords(theirs)) return;
  if (reached_.insert(ours.type_name).second) {
    pending_.push_back(ours.type_name);
  }
}

void Comparison::CompareValues(const Type& ours, const Type& theirs) {
  const Numbers our_numbers = NumbersByName(ours.values);
  const Numbers their_numbers = NumbersByName(theirs.values);
  auto our = ours.values.begin();
  auto their = theirs.values.begin();
  while (our != ours.values.end() || their != theirs.values.end()) {
    int32_t number = our != ours.values.end() ? our->number : their->number;
    if (their != theirs.values.end()) number = std::min(number, their->number);
    const auto our_names = TakeNames(number, ours.values, &our);
    const auto their_names = TakeNames(number, theirs.values, &their);

    // What has gone without turning up elsewhere was renamed to what has come
    // from nowhere, as long as there is as much of both.
    std::vector<absl::string_view> gone;
    std::vector<absl::string_view> come;
    for (const absl::string_view name : Without(our_names, their_names)) {
      if (!their_numbers.contains(name)) {
        gone.push_back(name);
      } else {
        AddLone(ours, {name, number, true}, their_numbers);
      }
    }
    for (const absl::string_view name : Without(their_names, our_names)) {
      if (!our_numbers.contains(name)) {
        come.push_back(name);
      } else {
        AddLone(ours, {name, number, false}, our_numbers);
      }
    }
    const size_t renamed = std::min(gone.size(), come.size());
    for (size_t i = 0; i < renamed; ++i) {
      AddMember(DifferenceKind::kName, ours, gone[i], number,
                absl::StrCat("name ", Change(gone[i], come[i])));
    }
    for (size_t i = renamed; i < gone.size(); ++i) {
      AddLone(ours, {gone[i], number, true}, their_numbers);
    }
    for (size_t i = renamed; i < come.size(); ++i) {
      AddLone(ours, {come[i], number, false}, our_numbers);
    }
  }
}

Difference Unreadable(absl::string_view side, const absl::Status& status) {
  return {DifferenceKind::kUnreadable, std::string(side),
          std::string(status.message())};
}

}  // namespace

std::vector<Difference> Differences(absl::string_view ours,
                                    absl::string_view theirs,
                                    size_t differences_max) {
  if (ours == theirs || differences_max == 0) return {};
  const absl::StatusOr<ParsedText> our_parsed = ParseCanonicalText(ours);
  if (!our_parsed.ok()) return {Unreadable("this side", our_parsed.status())};
  const absl::StatusOr<ParsedText> their_parsed = ParseCanonicalText(theirs);
  if (!their_parsed.ok()) {
    return {Unreadable("the other side", their_parsed.status())};
  }
  std::vector<Difference> found =
      Comparison(*our_parsed, *their_parsed, differences_max).Run();
  if (found.empty()) {
    // No text of ours has such types, but a peer may send what it likes.
    found.push_back({DifferenceKind::kOther, Shown(our_parsed->root),
                     "types differ that no field reaches"});
  }
  return found;
}

std::string FirstDifference(absl::string_view ours, absl::string_view theirs) {
  const std::vector<Difference> found = Differences(ours, theirs, 1);
  if (found.empty()) return "";
  return absl::StrCat(found[0].where, ": ", found[0].what);
}

}  // namespace mycelium
