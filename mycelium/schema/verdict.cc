#include "mycelium/schema/verdict.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <iterator>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mycelium/schema/canonical_text_parser.h"

namespace mycelium {
namespace {

using Field = ParsedText::Field;
using Type = ParsedText::Type;
using Value = ParsedText::Value;

constexpr absl::string_view kMapEntry = "map_entry";

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

std::string AllTypeWords(const Field& field) {
  if (field.type_name.empty()) return std::string(field.type);
  return absl::StrCat(field.type, " ", field.type_name);
}

// Shorter for a message, which may have the name of a scalar type.
std::string TypeWords(const Field& field) {
  return field.type == "message" ? std::string(field.type_name)
                                 : AllTypeWords(field);
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

// Is told what differs; returns whether it wants to hear more.
using Listener = absl::FunctionRef<bool(Difference)>;

// Walks two texts side by side and tells what differs.
class Comparison final {
 public:
  Comparison(const ParsedText& ours, const ParsedText& theirs,
             Listener listener)
      : ours_(ours), theirs_(theirs), listener_(listener) {}

  // Whether the two are the same, as far as fields reach.
  bool Run() &&;

 private:
  // A field or value whose number, on the other side, has not its name.
  struct Lone {
    absl::string_view name;
    int32_t number;
    bool is_ours;
    bool compatible;  // If the other side has nothing of its name at all.
  };
  static Lone LoneField(const Field& field, bool is_ours) {
    return {field.name, field.number, is_ours, field.label != "required"};
  }

  void Add(Difference difference);
  void AddMember(DifferenceKind kind, const Type& type, absl::string_view name,
                 int32_t number, std::string what, bool compatible = false);
  void AddLone(const Type& type, const Lone& lone,
               const Numbers& other_numbers);

  void CompareTypes(const Type& ours, const Type& theirs);
  void CompareFields(const Type& ours, const Type& theirs);
  void CompareField(const Type& type, const Field& ours, const Field& theirs);
  void CompareValues(const Type& ours, const Type& theirs);

  const ParsedText& ours_;
  const ParsedText& theirs_;
  const Listener listener_;
  bool is_same_ = true;
  bool is_done_ = false;
  std::deque<absl::string_view> pending_;  // Messages.
  std::deque<absl::string_view> pending_enums_;
  absl::flat_hash_set<absl::string_view> reached_;
  // Enums that some field which both sides have does not show all numbers of.
  absl::flat_hash_set<absl::string_view> shown_closed_;
  // Names of the present type whose change of number was told already.
  absl::flat_hash_set<absl::string_view> moved_;
};

void Comparison::Add(Difference difference) {
  is_same_ = false;
  if (!is_done_) is_done_ = !listener_(std::move(difference));
}

void Comparison::AddMember(DifferenceKind kind, const Type& type,
                           absl::string_view name, int32_t number,
                           std::string what, bool compatible) {
  Add({kind,
       absl::StrCat(Shown(type.name), ".", Shown(name), " (", number, ")"),
       std::move(what), compatible});
}

bool Comparison::Run() && {
  if (ours_.root != theirs_.root) {
    Add({DifferenceKind::kRoot, "type", Change(ours_.root, theirs_.root)});
    return false;
  }
  pending_.push_back(ours_.root);
  reached_.insert(ours_.root);
  while (!is_done_ && !(pending_.empty() && pending_enums_.empty())) {
    // Enums come last: only then is it known which of them fields hide.
    auto& pending = pending_.empty() ? pending_enums_ : pending_;
    const absl::string_view name = pending.front();
    pending.pop_front();
    CompareTypes(*ours_.Find(name), *theirs_.Find(name));
  }
  return is_same_;
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
        lone.is_ours ? "missing on the other side" : "missing on this side",
        lone.compatible);
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
    Add({DifferenceKind::kTypeForm, Shown(ours.name),
         Change(ours.mark, theirs.mark)});
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
      AddLone(ours, LoneField(*our, /*is_ours=*/true), their_numbers);
      ++our;
    } else {
      AddLone(ours, LoneField(*their, /*is_ours=*/false), our_numbers);
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
    // Every parser takes both packings, and no entry of a map shows whether its
    // key or its value was absent.
    const bool is_compatible =
        kind == DifferenceKind::kPacking ||
        (kind == DifferenceKind::kPresence && type.mark == kMapEntry);
    AddMember(kind, type, ours.name, ours.number,
              absl::StrCat(prefix, Change(our_word, their_word)),
              is_compatible);
  };
  compare(DifferenceKind::kName, "name ", ours.name, theirs.name);
  const bool is_same_type =
      ours.type == theirs.type && ours.type_name == theirs.type_name;
  const auto words =
      TypeWords(ours) == TypeWords(theirs) ? AllTypeWords : TypeWords;
  compare(DifferenceKind::kType, "", words(ours), words(theirs));
  compare(DifferenceKind::kLabel, "label ", ours.label, theirs.label);
  compare(DifferenceKind::kOneof, "oneof ", ours.oneof, theirs.oneof);
  compare(DifferenceKind::kPresence, "presence ", ours.presence,
          theirs.presence);
  compare(DifferenceKind::kPacking, "packing ", ours.packing, theirs.packing);
  compare(DifferenceKind::kValues, "values ", ours.values, theirs.values);
  compare(DifferenceKind::kDefault, "default ", ours.default_value,
          theirs.default_value);

  if (ours.type_name.empty() || !is_same_type) return;
  // If only one side hides numbers, that is a difference already.
  if (!ours.values.empty()) shown_closed_.insert(ours.type_name);
  if (reached_.insert(ours.type_name).second) {
    (ours.type == "enum" ? pending_enums_ : pending_).push_back(ours.type_name);
  }
}

void Comparison::CompareValues(const Type& ours, const Type& theirs) {
  // A closed enum does not show a number that it does not know.
  const bool is_open =
      ours.mark == "open" && !shown_closed_.contains(ours.name);
  const Numbers our_numbers = NumbersByName(ours.values);
  const Numbers their_numbers = NumbersByName(theirs.values);
  auto our = ours.values.begin();
  auto their = theirs.values.begin();
  while (our != ours.values.end() || their != theirs.values.end()) {
    int32_t number = our != ours.values.end() ? our->number : their->number;
    if (their != theirs.values.end()) number = std::min(number, their->number);
    const auto our_names = TakeNames(number, ours.values, &our);
    const auto their_names = TakeNames(number, theirs.values, &their);
    // Of one that both have, a name more or less hides nothing.
    const bool is_shown =
        is_open || (!our_names.empty() && !their_names.empty());

    // What has gone without turning up elsewhere was renamed to what has come
    // from nowhere, as long as there is as much of both.
    std::vector<absl::string_view> gone;
    std::vector<absl::string_view> come;
    for (const absl::string_view name : Without(our_names, their_names)) {
      if (!their_numbers.contains(name)) {
        gone.push_back(name);
      } else {
        AddLone(ours, {name, number, true, is_shown}, their_numbers);
      }
    }
    for (const absl::string_view name : Without(their_names, our_names)) {
      if (!our_numbers.contains(name)) {
        come.push_back(name);
      } else {
        AddLone(ours, {name, number, false, is_shown}, our_numbers);
      }
    }
    const size_t renamed = std::min(gone.size(), come.size());
    for (size_t i = 0; i < renamed; ++i) {
      AddMember(DifferenceKind::kName, ours, gone[i], number,
                absl::StrCat("name ", Change(gone[i], come[i])));
    }
    for (size_t i = renamed; i < gone.size(); ++i) {
      AddLone(ours, {gone[i], number, true, is_shown}, their_numbers);
    }
    for (size_t i = renamed; i < come.size(); ++i) {
      AddLone(ours, {come[i], number, false, is_shown}, our_numbers);
    }
  }
}

Difference Unreadable(absl::string_view side, const absl::Status& status) {
  return {DifferenceKind::kUnreadable, std::string(side),
          std::string(status.message())};
}

void Compare(absl::string_view ours, absl::string_view theirs,
             Listener listener) {
  if (ours == theirs) return;
  const absl::StatusOr<ParsedText> our_parsed = ParseCanonicalText(ours);
  if (!our_parsed.ok()) {
    listener(Unreadable("this side", our_parsed.status()));
    return;
  }
  const absl::StatusOr<ParsedText> their_parsed = ParseCanonicalText(theirs);
  if (!their_parsed.ok()) {
    listener(Unreadable("the other side", their_parsed.status()));
    return;
  }
  if (Comparison(*our_parsed, *their_parsed, listener).Run()) {
    // No text of ours has such types, but a peer may send what it likes.
    listener({DifferenceKind::kOther, Shown(our_parsed->root),
              "types differ that no field reaches"});
  }
}

}  // namespace

std::vector<Difference> Differences(absl::string_view ours,
                                    absl::string_view theirs,
                                    size_t differences_max) {
  std::vector<Difference> found;
  if (differences_max == 0) return found;
  Compare(ours, theirs, [&](Difference difference) {
    found.push_back(std::move(difference));
    return found.size() < differences_max;
  });
  return found;
}

Verdict CompareVersions(absl::string_view ours, absl::string_view theirs) {
  Verdict verdict;
  Compare(ours, theirs, [&](const Difference& difference) {
    if (!difference.compatible) {
      verdict = {Verdict::Kind::kIncompatible, difference.ToString()};
    } else if (verdict.kind == Verdict::Kind::kExact) {
      verdict = {Verdict::Kind::kCompatible, difference.ToString()};
    }
    return difference.compatible;
  });
  return verdict;
}

}  // namespace mycelium
