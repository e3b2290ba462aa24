#include "mycelium/schema/canonical_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.pb.h"

namespace mycelium {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;

// Exactly one of the two is set.
struct ReachedType {
  const Descriptor* message = nullptr;
  const EnumDescriptor* enumeration = nullptr;
};

// Keyed by full name, so that walking it is the order of the text.
using ReachedTypes = std::map<std::string, ReachedType>;

ReachedTypes Reach(const Descriptor& root) {
  ReachedTypes reached = {{root.full_name(), {&root, nullptr}}};
  std::vector<const Descriptor*> pending = {&root};
  while (!pending.empty()) {
    const Descriptor& message = *pending.back();
    pending.pop_back();
    for (int i = 0; i < message.field_count(); ++i) {
      const FieldDescriptor& field = *message.field(i);
      if (const EnumDescriptor* enumeration = field.enum_type()) {
        reached.insert({enumeration->full_name(), {nullptr, enumeration}});
      } else if (const Descriptor* next = field.message_type()) {
        if (reached.insert({next->full_name(), {next, nullptr}}).second) {
          pending.push_back(next);
        }
      }
    }
  }
  return reached;
}

absl::string_view LabelName(FieldDescriptor::Label label) {
  switch (label) {
    case FieldDescriptor::LABEL_OPTIONAL:
      return "optional";
    case FieldDescriptor::LABEL_REQUIRED:
      return "required";
    case FieldDescriptor::LABEL_REPEATED:
      return "repeated";
  }
  return "";
}

// The shortest digits that read back as `value`, in no locale. Protobuf has
// one not-a-number only, so its sign and payload are not told.
template <typename Float>
std::string FloatText(Float value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char digits[64];
  const std::to_chars_result end =
      std::to_chars(digits, digits + sizeof(digits), value);
  return std::string(digits, end.ptr);
}

std::string DefaultText(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(field.default_value_int32());
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat(field.default_value_int64());
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(field.default_value_uint32());
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(field.default_value_uint64());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return FloatText(field.default_value_double());
    case FieldDescriptor::CPPTYPE_FLOAT:
      return FloatText(field.default_value_float());
    case FieldDescriptor::CPPTYPE_BOOL:
      return field.default_value_bool() ? "1" : "0";
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrCat(field.default_value_enum()->number());
    case FieldDescriptor::CPPTYPE_STRING:
      return absl::StrCat("\"", absl::CEscape(field.default_value_string()),
                          "\"");
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "";
  }
  return "";
}

// Whether reading the absent field gives what the type gives by itself. A
// default that is written out but changes nothing is not told; one that is not
// written out but is not zero (the first value of a proto2 enum) is.
bool HasPlainDefault(const FieldDescriptor& field) {
  if (field.is_repeated() ||
      field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    return true;
  }
  const std::string text = DefaultText(field);
  return text == "0" || text == "\"\"";
}

// An enum that is not open hides numbers that it does not know.
bool IsOpen(const EnumDescriptor& enumeration) {
  return enumeration.file()->syntax() == FileDescriptor::SYNTAX_PROTO3;
}

void AppendField(const FieldDescriptor& field, std::string& text) {
  absl::StrAppend(&text, "  ", field.number(), " ", field.name(), " ",
                  LabelName(field.label()), " ", field.type_name());
  if (const EnumDescriptor* enumeration = field.enum_type()) {
    absl::StrAppend(&text, " ", enumeration->full_name());
  } else if (const Descriptor* message = field.message_type()) {
    absl::StrAppend(&text, " ", message->full_name());
  }
  // The oneof that stands for proto3's `optional` is presence, not a oneof.
  if (const auto* oneof = field.real_containing_oneof()) {
    absl::StrAppend(&text, " oneof=", oneof->name());
  }
  if (!field.is_repeated()) {
    absl::StrAppend(
        &text, " presence=", field.has_presence() ? "explicit" : "implicit");
  } else if (field.is_packable()) {
    absl::StrAppend(&text,
                    " packing=", field.is_packed() ? "packed" : "expanded");
  }
  // Some languages, C++ among them, do not show unknown numbers of any enum in
  // messages of proto2.
  if (field.enum_type() != nullptr && IsOpen(*field.enum_type()) &&
      field.file()->syntax() != FileDescriptor::SYNTAX_PROTO3) {
    text.append(" values=closed");
  }
  // Last, because it is the only part that may have spaces in it.
  if (!HasPlainDefault(field)) {
    absl::StrAppend(&text, " default=", DefaultText(field));
  }
  text.push_back('\n');
}

void AppendMessage(const Descriptor& message, std::string& text) {
  absl::StrAppend(&text, "message ", message.full_name());
  if (message.options().map_entry()) text.append(" map_entry");
  if (message.options().message_set_wire_format()) text.append(" message_set");
  text.push_back('\n');

  std::vector<const FieldDescriptor*> fields;
  for (int i = 0; i < message.field_count(); ++i) {
    fields.push_back(message.field(i));
  }
  std::sort(fields.begin(), fields.end(),
            [](const FieldDescriptor* a, const FieldDescriptor* b) {
              return a->number() < b->number();
            });
  for (const FieldDescriptor* field : fields) AppendField(*field, text);
}

void AppendEnum(const EnumDescriptor& enumeration, std::string& text) {
  absl::StrAppend(&text, "enum ", enumeration.full_name(),
                  IsOpen(enumeration) ? " open" : " closed", "\n");

  std::vector<std::tuple<int32_t, std::string>> values;
  for (int i = 0; i < enumeration.value_count(); ++i) {
    const EnumValueDescriptor& value = *enumeration.value(i);
    values.emplace_back(value.number(), value.name());
  }
  std::sort(values.begin(), values.end());
  for (const auto& [number, name] : values) {
    absl::StrAppend(&text, "  ", number, " ", name, "\n");
  }
}

}  // namespace

std::string CanonicalText(const Descriptor& type) {
  std::string text =
      absl::StrCat(kCanonicalTextHeader, "\nroot ", type.full_name(), "\n");
  for (const auto& [name, reached] : Reach(type)) {
    if (reached.message != nullptr) {
      AppendMessage(*reached.message, text);
    } else {
      AppendEnum(*reached.enumeration, text);
    }
  }
  return text;
}

}  // namespace mycelium
