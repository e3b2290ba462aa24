#include "mycelium/schema/schema_mutation.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace mycelium {
namespace {

using Proto = FieldModel::Proto;

// What a change of a field has to work with.
struct Place {
  bool proto3;
  MessageModel& message;
  FieldModel& field;
  Random& random;

  bool IsMap() const { return absl::EndsWith(field.type_name, "Entry"); }
  bool IsScalar() const { return field.type_name.empty(); }
  bool IsSingular() const { return field.label != Proto::LABEL_REPEATED; }
  bool IsPackable() const {
    return field.type != Proto::TYPE_STRING &&
           field.type != Proto::TYPE_BYTES &&
           (IsScalar() || field.type == Proto::TYPE_ENUM);
  }
};

int32_t FreeNumber(const MessageModel& message) {
  int32_t number = 20000;
  for (const FieldModel& field : message.fields) {
    number = std::max(number, field.number + 1);
  }
  return number;
}

// Each of these makes its change, or returns false and changes nothing.

bool Renumber(Place& at) {
  at.field.number = FreeNumber(at.message);
  return true;
}

bool Rename(Place& at) {
  if (at.IsMap()) return false;
  at.field.name += "_renamed";
  return true;
}

bool Retype(Place& at) {
  if (!at.IsScalar()) return false;
  at.field.default_value.clear();
  at.field.packed = FieldModel::kPackedUnset;
  at.field.type = at.field.type == Proto::TYPE_STRING  ? Proto::TYPE_BYTES
                  : at.field.type == Proto::TYPE_INT32 ? Proto::TYPE_SINT32
                                                       : Proto::TYPE_INT32;
  return true;
}

bool MakeRepeated(Place& at) {
  if (!at.IsSingular() || !at.field.oneof.empty()) return false;
  at.field.default_value.clear();
  at.field.proto3_optional = false;
  at.field.label = Proto::LABEL_REPEATED;
  return true;
}

bool MakeSingular(Place& at) {
  if (at.IsSingular() || at.IsMap()) return false;
  at.field.packed = FieldModel::kPackedUnset;
  at.field.label = Proto::LABEL_OPTIONAL;
  return true;
}

bool ToggleRequired(Place& at) {
  if (at.proto3 || !at.IsSingular() || !at.field.oneof.empty()) return false;
  at.field.label = at.field.label == Proto::LABEL_REQUIRED
                       ? Proto::LABEL_OPTIONAL
                       : Proto::LABEL_REQUIRED;
  return true;
}

bool TogglePresence(Place& at) {
  if (!at.proto3 || !at.IsSingular() || !at.field.oneof.empty() ||
      at.field.type == Proto::TYPE_MESSAGE) {
    return false;
  }
  at.field.proto3_optional = !at.field.proto3_optional;
  return true;
}

bool ChangeDefault(Place& at) {
  if (at.proto3 || !at.IsSingular() || !at.IsScalar()) return false;
  std::string& value = at.field.default_value;
  if (at.field.type == Proto::TYPE_BOOL) {
    value = value == "true" ? "false" : "true";
  } else {
    value = "17";
  }
  return true;
}

bool MoveIntoOneof(Place& at) {
  if (at.field.label != Proto::LABEL_OPTIONAL || at.field.proto3_optional) {
    return false;
  }
  at.field.oneof += "other";
  return true;
}

bool MoveOutOfOneof(Place& at) {
  if (at.field.oneof.empty()) return false;
  at.field.oneof.clear();
  return true;
}

bool TogglePacked(Place& at) {
  if (at.IsSingular() || !at.IsPackable()) return false;
  const bool packed = at.field.packed == FieldModel::kPackedUnset
                          ? at.proto3
                          : at.field.packed == FieldModel::kPacked;
  at.field.packed = packed ? FieldModel::kExpanded : FieldModel::kPacked;
  return true;
}

bool RetargetMessage(Place& at) {
  if (at.field.type != Proto::TYPE_MESSAGE || at.IsMap()) return false;
  if (at.field.type_name == at.message.name) return false;
  at.field.type_name = at.message.name;
  return true;
}

bool RemoveField(Place& at) {
  std::vector<FieldModel>& fields = at.message.fields;
  fields.erase(fields.begin() + (&at.field - fields.data()));
  return true;
}

struct FieldMutation {
  const char* kind;
  bool (*make)(Place&);
};

constexpr FieldMutation kFieldMutations[] = {
    {"renumber", Renumber},
    {"rename", Rename},
    {"retype", Retype},
    {"make repeated", MakeRepeated},
    {"make singular", MakeSingular},
    {"toggle required", ToggleRequired},
    {"toggle presence", TogglePresence},
    {"change default", ChangeDefault},
    {"move into oneof", MoveIntoOneof},
    {"move out of oneof", MoveOutOfOneof},
    {"toggle packed", TogglePacked},
    {"retarget message", RetargetMessage},
    {"remove field", RemoveField},
};

using Values = std::vector<std::pair<std::string, int32_t>>;

int32_t FreeNumber(const Values& values) {
  int32_t number = 1000;
  for (const auto& value : values) number = std::max(number, value.second + 1);
  return number;
}

// These get a value that is neither the first, which has a meaning of its own,
// nor one that fields have as their default.
void AddValue(EnumModel& model, size_t) {
  model.values.push_back({"VALUE_ADDED", FreeNumber(model.values)});
}
void AddAlias(EnumModel& model, size_t at) {
  model.allow_alias = true;
  model.values.push_back({"VALUE_ADDED", model.values[at].second});
}
void RenameValue(EnumModel& model, size_t at) {
  model.values[at].first += "_RENAMED";
}
void RenumberValue(EnumModel& model, size_t at) {
  model.values[at].second = FreeNumber(model.values);
}
void RemoveValue(EnumModel& model, size_t at) {
  model.values.erase(model.values.begin() + at);
}

struct EnumMutation {
  const char* kind;
  void (*make)(EnumModel&, size_t);
};

constexpr EnumMutation kEnumMutations[] = {
    {"add value", AddValue},       {"add alias", AddAlias},
    {"rename value", RenameValue}, {"renumber value", RenumberValue},
    {"remove value", RemoveValue},
};

constexpr char kAddField[] = "add field";
constexpr char kRenameType[] = "rename type";

// The full names of all types that the root reaches.
std::set<std::string> Reach(SchemaModel& schema) {
  std::set<std::string> reached = {schema.root()};
  std::vector<std::string> pending = {schema.root()};
  while (!pending.empty()) {
    const MessageModel* message = FindMessage(schema, pending.back());
    pending.pop_back();
    if (message == nullptr) continue;  // An enum.
    for (const FieldModel& field : message->fields) {
      if (!field.type_name.empty() && reached.insert(field.type_name).second) {
        pending.push_back(field.type_name);
      }
    }
  }
  return reached;
}

struct MessageAt {
  bool proto3;
  MessageModel* message;
};

std::vector<MessageAt> Messages(SchemaModel& schema, bool want_reached) {
  const std::set<std::string> reached = Reach(schema);
  std::vector<MessageAt> messages;
  ForEachMessage(schema, [&](LayerModel& layer, MessageModel& message) {
    if (message.map_entry) return;
    if ((reached.count(message.name) > 0) != want_reached) return;
    messages.push_back({layer.proto3, &message});
  });
  return messages;
}

FieldModel NewField(const MessageModel& message) {
  FieldModel field;
  field.name = "added";
  field.number = FreeNumber(message);
  return field;
}

Mutation MutateField(SchemaModel& schema, Random& random) {
  const auto messages = Messages(schema, true);
  const MessageAt& at = messages[Pick(random, messages.size())];
  MessageModel& message = *at.message;
  if (OneIn(random, 12)) {
    message.fields.push_back(NewField(message));
    const std::string named = absl::StrCat(message.name, ".added (");
    return {kAddField, named, named};
  }
  if (message.fields.empty()) return {};
  const int chosen = Pick(random, message.fields.size());
  const std::string before = message.fields[chosen].name;
  Place place{at.proto3, message, message.fields[chosen], random};
  const FieldMutation& mutation =
      kFieldMutations[Pick(random, std::size(kFieldMutations))];
  const bool removes = mutation.make == RemoveField;
  if (!mutation.make(place)) return {};
  const std::string after = removes ? before : message.fields[chosen].name;
  return {mutation.kind, absl::StrCat(message.name, ".", before, " ("),
          absl::StrCat(message.name, ".", after, " (")};
}

Mutation MutateEnum(SchemaModel& schema, Random& random) {
  std::vector<EnumModel*> enums;
  for (const std::string& name : Reach(schema)) {
    EnumModel* model = FindEnum(schema, name);
    if (model != nullptr && model->values.size() > 2) enums.push_back(model);
  }
  if (enums.empty()) return {};
  EnumModel& model = *enums[Pick(random, enums.size())];
  const size_t at = 2 + Pick(random, model.values.size() - 2);
  const std::string before = model.values[at].first;
  const size_t size_before = model.values.size();
  const EnumMutation& mutation =
      kEnumMutations[Pick(random, std::size(kEnumMutations))];
  mutation.make(model, at);
  const std::string prefix = absl::StrCat(model.name, ".");
  if (model.values.size() > size_before) {
    return {mutation.kind, prefix + "VALUE_ADDED", prefix + "VALUE_ADDED"};
  }
  if (model.values.size() < size_before) {
    return {mutation.kind, prefix + before, prefix + before};
  }
  return {mutation.kind, prefix + before, prefix + model.values[at].first};
}

// Gives a type another name, everywhere, with all that is nested in it.
Mutation RenameType(SchemaModel& schema, Random& random) {
  const auto messages = Messages(schema, true);
  const std::string before =
      messages[Pick(random, messages.size())].message->name;
  const std::string after = before + "Renamed";
  const auto rename = [&](std::string& name) {
    if (name == before || absl::StartsWith(name, before + ".")) {
      name.replace(0, before.size(), after);
    }
  };
  ForEachMessage(schema, [&](LayerModel&, MessageModel& message) {
    rename(message.name);
    for (FieldModel& field : message.fields) rename(field.type_name);
    for (EnumModel& model : message.enums) rename(model.name);
  });
  return {kRenameType, after, after};
}

}  // namespace

std::vector<std::string> MutationKinds() {
  std::vector<std::string> kinds = {kAddField, kRenameType};
  for (const auto& mutation : kFieldMutations) kinds.push_back(mutation.kind);
  for (const auto& mutation : kEnumMutations) kinds.push_back(mutation.kind);
  return kinds;
}

Mutation MutateReached(SchemaModel& schema, Random& random) {
  if (OneIn(random, 8)) return MutateEnum(schema, random);
  if (OneIn(random, 20)) return RenameType(schema, random);
  return MutateField(schema, random);
}

bool MutateUnreached(SchemaModel& schema, Random& random) {
  const auto messages = Messages(schema, false);
  if (messages.empty()) return false;
  MessageModel& message = *messages[Pick(random, messages.size())].message;
  message.fields.push_back(NewField(message));
  return true;
}

}  // namespace mycelium
