#ifndef MYCELIUM_SCHEMA_SCHEMA_MODEL_H_
#define MYCELIUM_SCHEMA_SCHEMA_MODEL_H_

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"

namespace mycelium {

// For tests: a schema as a value that is made from a seed, changed at will, and
// then written out as .proto files in one of many ways that mean the same.
//
// A schema is a list of layers. A type names types of its own layer, in any
// direction, and of the layers below. So layers can be spread over files
// without a circle of imports, and recursion still occurs.

using Random = std::mt19937_64;

// A number in [0, bound). REQUIRES: bound > 0.
inline int Pick(Random& random, size_t bound) {
  return static_cast<int>(random() % bound);
}
inline bool OneIn(Random& random, int n) { return Pick(random, n) == 0; }

struct FieldModel {
  using Proto = google::protobuf::FieldDescriptorProto;
  enum Packed { kPackedUnset, kPacked, kExpanded };

  int32_t number = 0;
  std::string name;
  Proto::Label label = Proto::LABEL_OPTIONAL;
  Proto::Type type = Proto::TYPE_INT32;
  std::string type_name;  // Full name, for messages, groups and enums.
  std::string oneof;      // Empty: in none.
  bool proto3_optional = false;
  Packed packed = kPackedUnset;
  std::string default_value;  // As in FieldDescriptorProto; empty: none.
};

struct EnumModel {
  std::string name;  // Full name, as for every type here.
  bool allow_alias = false;
  std::vector<std::pair<std::string, int32_t>> values;
};

struct MessageModel {
  std::string name;
  bool map_entry = false;
  std::vector<FieldModel> fields;
  std::vector<MessageModel> messages;
  std::vector<EnumModel> enums;
};

struct LayerModel {
  bool proto3 = false;
  std::vector<MessageModel> messages;
  std::vector<EnumModel> enums;
};

struct SchemaModel {
  std::vector<LayerModel> layers;

  std::string root() const { return layers.back().messages[0].name; }
};

// The type of that full name, at any depth; null if there is none.
MessageModel* FindMessage(SchemaModel& schema, const std::string& name);
EnumModel* FindEnum(SchemaModel& schema, const std::string& name);

// Calls `visit` for every message, nested ones and map entries included, with
// the layer that it is in.
void ForEachMessage(
    SchemaModel& schema,
    absl::FunctionRef<void(LayerModel& layer, MessageModel& message)> visit);

// Some messages and enums with fields of every kind.
SchemaModel GenerateSchema(Random& random);

// The schema as compiled files. Everything that a digest must not see is
// drawn from `random`: how layers are spread over files and what these are
// called, the order of all declarations, comments, json names, options.
// Null if the schema breaks a rule of Protobuf.
std::unique_ptr<google::protobuf::DescriptorPool> WriteSchema(
    const SchemaModel& schema, Random& random);

}  // namespace mycelium

#endif  // MYCELIUM_SCHEMA_SCHEMA_MODEL_H_
