#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "mycelium/schema/schema_model.h"

namespace mycelium {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::DescriptorProto;
using google::protobuf::EnumDescriptorProto;
using google::protobuf::FieldDescriptorProto;
using google::protobuf::FileDescriptorProto;

std::string LastName(const std::string& full_name) {
  return full_name.substr(full_name.rfind('.') + 1);
}

class Silence final : public DescriptorPool::ErrorCollector {
 public:
  void AddError(const std::string&, const std::string&,
                const google::protobuf::Message*, ErrorLocation,
                const std::string&) override {}
};

class Writer final {
 public:
  explicit Writer(Random& random) : random_(random) {}

  std::unique_ptr<DescriptorPool> Write(const SchemaModel& schema);

 private:
  template <typename T>
  std::vector<T> Shuffled(std::vector<T> items) {
    std::shuffle(items.begin(), items.end(), random_);
    return items;
  }

  FileDescriptorProto& NewFile(bool proto3);
  void WriteEnum(const EnumModel& model, EnumDescriptorProto* proto);
  void WriteMessage(const MessageModel& model, DescriptorProto* proto);
  void WriteFields(const MessageModel& model, DescriptorProto* proto);
  FieldDescriptorProto* WriteField(const FieldModel& model,
                                   DescriptorProto* proto);

  Random& random_;
  std::vector<FileDescriptorProto> files_;
};

// A file that may name the types of all files before it.
FileDescriptorProto& Writer::NewFile(bool proto3) {
  FileDescriptorProto file;
  file.set_name(absl::StrCat("folder", Pick(random_, 3), "/file", files_.size(),
                             "_", Pick(random_, 1000), ".proto"));
  file.set_package("gen");
  file.set_syntax(proto3 ? "proto3" : "proto2");
  for (const FileDescriptorProto& import : Shuffled(files_)) {
    file.add_dependency(import.name());
  }
  if (OneIn(random_, 2)) file.mutable_options()->set_java_package("org.gen");
  if (OneIn(random_, 2)) file.mutable_options()->set_deprecated(true);
  if (OneIn(random_, 2)) {
    auto* location = file.mutable_source_code_info()->add_location();
    location->add_path(4);
    location->add_path(0);
    for (const int at : {Pick(random_, 9), 0, 7}) location->add_span(at);
    location->set_leading_comments(absl::StrCat("Comment ", random_()));
  }
  files_.push_back(std::move(file));
  return files_.back();
}

std::unique_ptr<DescriptorPool> Writer::Write(const SchemaModel& schema) {
  bool is_new = true;
  for (const LayerModel& layer : schema.layers) {
    const std::string syntax = layer.proto3 ? "proto3" : "proto2";
    if (is_new || files_.back().syntax() != syntax || OneIn(random_, 2)) {
      NewFile(layer.proto3);
    }
    is_new = false;
    // Enums need nothing, so they may have a file of their own.
    for (const EnumModel& model : Shuffled(layer.enums)) {
      if (OneIn(random_, 4)) NewFile(layer.proto3);
      WriteEnum(model, files_.back().add_enum_type());
    }
    if (OneIn(random_, 4)) NewFile(layer.proto3);
    for (const MessageModel& model : Shuffled(layer.messages)) {
      WriteMessage(model, files_.back().add_message_type());
    }
  }
  auto pool = std::make_unique<DescriptorPool>();
  Silence silence;
  for (const FileDescriptorProto& file : files_) {
    if (pool->BuildFileCollectingErrors(file, &silence) == nullptr) {
      return nullptr;
    }
  }
  return pool;
}

void Writer::WriteEnum(const EnumModel& model, EnumDescriptorProto* proto) {
  proto->set_name(LastName(model.name));
  if (model.allow_alias) proto->mutable_options()->set_allow_alias(true);
  // The first value has a meaning; see canonical_text_test.cc.
  auto values = model.values;
  std::shuffle(values.begin() + 1, values.end(), random_);
  for (const auto& [name, number] : values) {
    auto* value = proto->add_value();
    value->set_name(name);
    value->set_number(number);
    if (OneIn(random_, 9)) value->mutable_options()->set_deprecated(true);
  }
}

void Writer::WriteMessage(const MessageModel& model, DescriptorProto* proto) {
  proto->set_name(LastName(model.name));
  if (model.map_entry) {
    proto->mutable_options()->set_map_entry(true);
  } else if (OneIn(random_, 4)) {
    proto->mutable_options()->set_deprecated(true);
    proto->add_reserved_name("reserved_name");
  }
  WriteFields(model, proto);
  for (const EnumModel& nested : Shuffled(model.enums)) {
    WriteEnum(nested, proto->add_enum_type());
  }
  for (const MessageModel& nested : Shuffled(model.messages)) {
    WriteMessage(nested, proto->add_nested_type());
  }
}

void Writer::WriteFields(const MessageModel& model, DescriptorProto* proto) {
  std::map<std::string, int> oneofs;
  // Protobuf wants the fields of a oneof side by side, and the key of a map
  // before the value.
  std::map<std::string, uint64_t> places;
  std::vector<FieldModel> fields = Shuffled(model.fields);
  const auto place = [&](const FieldModel& field) {
    const std::string& key = field.oneof.empty() ? field.name : field.oneof;
    return places.insert({key, places.size()}).first->second;
  };
  for (const FieldModel& field : fields) place(field);
  std::stable_sort(fields.begin(), fields.end(),
                   [&](const FieldModel& a, const FieldModel& b) {
                     return place(a) < place(b);
                   });
  if (model.map_entry) fields = model.fields;

  for (const FieldModel& field : fields) {
    FieldDescriptorProto* written = WriteField(field, proto);
    if (field.oneof.empty()) continue;
    const auto [entry, is_new] =
        oneofs.insert({field.oneof, proto->oneof_decl_size()});
    if (is_new) proto->add_oneof_decl()->set_name(field.oneof);
    written->set_oneof_index(entry->second);
  }
  for (FieldDescriptorProto& field : *proto->mutable_field()) {
    if (!field.proto3_optional()) continue;
    field.set_oneof_index(proto->oneof_decl_size());
    proto->add_oneof_decl()->set_name(absl::StrCat("_", field.name()));
  }
}

FieldDescriptorProto* Writer::WriteField(const FieldModel& model,
                                         DescriptorProto* proto) {
  FieldDescriptorProto* field = proto->add_field();
  field->set_name(model.name);
  field->set_number(model.number);
  field->set_label(model.label);
  field->set_type(model.type);
  if (!model.type_name.empty()) {
    field->set_type_name(absl::StrCat(".", model.type_name));
  }
  if (model.proto3_optional) field->set_proto3_optional(true);
  if (!model.default_value.empty()) {
    field->set_default_value(model.default_value);
  }
  if (model.packed != FieldModel::kPackedUnset) {
    field->mutable_options()->set_packed(model.packed == FieldModel::kPacked);
  }
  if (!proto->options().map_entry() && OneIn(random_, 4)) {
    field->set_json_name(absl::StrCat("json", model.number));
    field->mutable_options()->set_deprecated(true);
  }
  return field;
}

}  // namespace

std::unique_ptr<DescriptorPool> WriteSchema(const SchemaModel& schema,
                                            Random& random) {
  return Writer(random).Write(schema);
}

}  // namespace mycelium
