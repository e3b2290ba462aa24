#include <set>

#include "absl/strings/str_cat.h"
#include "mycelium/schema/schema_model.h"

namespace mycelium {
namespace {

using Proto = FieldModel::Proto;

class Generator final {
 public:
  explicit Generator(Random& random) : random_(random) {}

  SchemaModel Generate();

 private:
  std::string Unique(absl::string_view prefix) {
    return absl::StrCat(prefix, ++names_);
  }
  bool OneIn(int n) { return mycelium::OneIn(random_, n); }
  template <typename T>
  const T& Any(const std::vector<T>& choices) {
    return choices[Pick(random_, choices.size())];
  }

  MessageModel MakeMessage(const std::string& scope, int depth);
  EnumModel MakeEnum(const std::string& scope);
  void Fill(MessageModel& message);
  FieldModel MakeField(MessageModel& message);
  void MakeMap(FieldModel& field, MessageModel& message);
  void MakeGroup(FieldModel& field, MessageModel& message);
  void ChooseScalar(FieldModel& field);
  void ChooseLabel(FieldModel& field);

  Random& random_;
  int names_ = 0;
  bool proto3_ = false;  // Of the layer that is being made.
  std::vector<std::string> messages_;
  std::vector<std::string> open_enums_;
  std::vector<std::pair<std::string, std::string>> any_enums_;  // With a value.
};

SchemaModel Generator::Generate() {
  SchemaModel schema;
  const int layers = 1 + Pick(random_, 3);
  for (int i = 0; i < layers; ++i) {
    LayerModel layer;
    layer.proto3 = proto3_ = OneIn(2);
    for (int n = Pick(random_, 3); n > 0; --n) {
      layer.enums.push_back(MakeEnum("gen"));
    }
    for (int n = 1 + Pick(random_, 3); n > 0; --n) {
      layer.messages.push_back(MakeMessage("gen", 0));
    }
    for (MessageModel& message : layer.messages) Fill(message);
    schema.layers.push_back(std::move(layer));
  }
  return schema;
}

EnumModel Generator::MakeEnum(const std::string& scope) {
  EnumModel enumeration;
  enumeration.name = absl::StrCat(scope, ".", Unique("E"));
  int32_t number = proto3_ ? 0 : Pick(random_, 5) - 2;
  for (int n = 2 + Pick(random_, 4); n > 0; --n) {
    enumeration.values.push_back({Unique("VALUE_"), number});
    if (OneIn(6)) {
      enumeration.allow_alias = true;
      enumeration.values.push_back({Unique("ALIAS_"), number});
    }
    number += 1 + Pick(random_, 9);
  }
  if (proto3_) open_enums_.push_back(enumeration.name);
  any_enums_.push_back({enumeration.name, enumeration.values[1].first});
  return enumeration;
}

MessageModel Generator::MakeMessage(const std::string& scope, int depth) {
  MessageModel message;
  message.name = absl::StrCat(scope, ".", Unique("M"));
  messages_.push_back(message.name);
  if (OneIn(4)) message.enums.push_back(MakeEnum(message.name));
  while (depth < 3 && OneIn(3)) {
    message.messages.push_back(MakeMessage(message.name, depth + 1));
  }
  return message;
}

void Generator::Fill(MessageModel& message) {
  for (MessageModel& nested : message.messages) Fill(nested);
  std::set<int32_t> numbers;
  for (int n = Pick(random_, 8); n > 0; --n) {
    FieldModel field = MakeField(message);
    do {
      field.number = 1 + Pick(random_, OneIn(4) ? 18000 : 40);
    } while (!numbers.insert(field.number).second);
    message.fields.push_back(std::move(field));
  }
}

FieldModel Generator::MakeField(MessageModel& message) {
  FieldModel field;
  field.name = Unique("f");
  if (OneIn(10)) {
    MakeMap(field, message);
    return field;
  }
  ChooseLabel(field);
  if (!proto3_ && OneIn(12)) {
    MakeGroup(field, message);
  } else if (OneIn(3)) {
    field.type = Proto::TYPE_MESSAGE;
    field.type_name = Any(messages_);
  } else if (OneIn(4) &&
             !(proto3_ ? open_enums_.empty() : any_enums_.empty())) {
    field.type = Proto::TYPE_ENUM;
    if (proto3_) {
      field.type_name = Any(open_enums_);
    } else {
      const auto& [name, value] = Any(any_enums_);
      field.type_name = name;
      if (field.label != Proto::LABEL_REPEATED && OneIn(2)) {
        field.default_value = value;
      }
    }
  } else {
    ChooseScalar(field);
  }
  if (field.label == Proto::LABEL_OPTIONAL && !field.proto3_optional &&
      OneIn(4)) {
    field.oneof = OneIn(2) ? "choice_one" : "choice_two";
  }
  return field;
}

void Generator::ChooseLabel(FieldModel& field) {
  if (OneIn(4)) {
    field.label = Proto::LABEL_REPEATED;
  } else if (!proto3_ && OneIn(4)) {
    field.label = Proto::LABEL_REQUIRED;
  } else if (proto3_ && OneIn(3)) {
    field.proto3_optional = true;
  }
}

void Generator::ChooseScalar(FieldModel& field) {
  struct Scalar {
    Proto::Type type;
    std::vector<std::string> defaults;
    bool packable;
  };
  static const std::vector<Scalar>& scalars = *new std::vector<Scalar>{
      {Proto::TYPE_DOUBLE, {"inf", "-inf", "nan", "0", "0.1", "-1e300"}, true},
      {Proto::TYPE_FLOAT, {"0.25", "nan", "-0"}, true},
      {Proto::TYPE_INT64, {"-9223372036854775808", "5"}, true},
      {Proto::TYPE_UINT64, {"18446744073709551615"}, true},
      {Proto::TYPE_INT32, {"0", "-7"}, true},
      {Proto::TYPE_FIXED64, {"9"}, true},
      {Proto::TYPE_FIXED32, {"9"}, true},
      {Proto::TYPE_BOOL, {"true", "false"}, true},
      {Proto::TYPE_STRING, {"a \"quoted\"\nline", " default=1", "é"}, false},
      {Proto::TYPE_BYTES, {"\\001\\377\\\\", "plain"}, false},
      {Proto::TYPE_UINT32, {"4294967295"}, true},
      {Proto::TYPE_SFIXED32, {"-9"}, true},
      {Proto::TYPE_SFIXED64, {"-9"}, true},
      {Proto::TYPE_SINT32, {"-9"}, true},
      {Proto::TYPE_SINT64, {"-9"}, true},
  };
  const Scalar& scalar = Any(scalars);
  field.type = scalar.type;
  if (field.label == Proto::LABEL_REPEATED) {
    if (scalar.packable) {
      field.packed = static_cast<FieldModel::Packed>(Pick(random_, 3));
    }
  } else if (!proto3_ && OneIn(3)) {
    field.default_value = Any(scalar.defaults);
  }
}

void Generator::MakeMap(FieldModel& field, MessageModel& message) {
  MessageModel entry;
  entry.map_entry = true;
  // Protobuf wants the entry to be named after the field.
  entry.name = absl::StrCat(message.name, ".F", field.name.substr(1), "Entry");
  entry.fields.resize(2);
  entry.fields[0].name = "key";
  entry.fields[0].number = 1;
  entry.fields[0].type = OneIn(2) ? Proto::TYPE_STRING : Proto::TYPE_INT32;
  entry.fields[1].name = "value";
  entry.fields[1].number = 2;
  if (OneIn(2)) {
    entry.fields[1].type = Proto::TYPE_MESSAGE;
    entry.fields[1].type_name = Any(messages_);
  }
  field.label = Proto::LABEL_REPEATED;
  field.type = Proto::TYPE_MESSAGE;
  field.type_name = entry.name;
  message.messages.push_back(std::move(entry));
}

void Generator::MakeGroup(FieldModel& field, MessageModel& message) {
  MessageModel group;
  group.name = absl::StrCat(message.name, ".F", field.name.substr(1));
  FieldModel inner;
  inner.name = Unique("f");
  inner.number = 3;
  group.fields.push_back(inner);
  field.type = Proto::TYPE_GROUP;
  field.type_name = group.name;
  message.messages.push_back(std::move(group));
}

}  // namespace

SchemaModel GenerateSchema(Random& random) {
  return Generator(random).Generate();
}

}  // namespace mycelium
