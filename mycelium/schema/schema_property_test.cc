// Laws over generated schemas and generated changes: a digest changes exactly
// when the canonical text does, which is exactly when the meaning does, and the
// difference that is reported is the change that was made. And where the
// verdict is "compatible", messages say the same in both versions.

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/dynamic_message.h"
#include "google/protobuf/message.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "mycelium/schema/canonical_text.h"
#include "mycelium/schema/schema_digest.h"
#include "mycelium/schema/schema_model.h"
#include "mycelium/schema/schema_mutation.h"
#include "mycelium/schema/verdict.h"

namespace mycelium {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using ::testing::HasSubstr;

constexpr int kSchemas = 200;
constexpr int kWritingsPerSchema = 10;
constexpr int kMutationsPerSchema = 60;

struct Written {
  std::string text;
  Digest digest;
};

// Empty if the schema breaks a rule of Protobuf.
Written Write(const SchemaModel& schema, Random& random) {
  const auto pool = WriteSchema(schema, random);
  if (pool == nullptr) return {};
  const auto* root = pool->FindMessageTypeByName(schema.root());
  return {CanonicalText(*root), TypeDigest(*root)};
}

TEST(SchemaPropertyTest, WhatMeansTheSameHasTheSameTextAndDigest) {
  for (uint64_t seed = 1; seed <= kSchemas; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    const SchemaModel schema = GenerateSchema(random);
    const Written first = Write(schema, random);
    ASSERT_NE(first.text, "");
    for (int i = 0; i < kWritingsPerSchema; ++i) {
      const Written again = Write(schema, random);
      ASSERT_EQ(again.text, first.text);
      ASSERT_EQ(again.digest, first.digest);
      ASSERT_EQ(CompareVersions(first.text, again.text).difference, "");
    }
  }
}

TEST(SchemaPropertyTest, ChangeOfATypeThatIsNotReachedIsNotSeen) {
  int changes = 0;
  for (uint64_t seed = 1; seed <= kSchemas; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    const SchemaModel schema = GenerateSchema(random);
    const Written before = Write(schema, random);
    SchemaModel changed = schema;
    if (!MutateUnreached(changed, random)) continue;
    const Written after = Write(changed, random);
    ASSERT_EQ(after.text, before.text);
    ASSERT_EQ(after.digest, before.digest);
    ++changes;
  }
  EXPECT_GT(changes, kSchemas / 4);
}

TEST(SchemaPropertyTest, EveryRelevantChangeIsSeenAndNamed) {
  std::map<std::string, int> changes;
  int total = 0;
  for (uint64_t seed = 1; seed <= kSchemas; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    const SchemaModel schema = GenerateSchema(random);
    const Written before = Write(schema, random);
    for (int i = 0; i < kMutationsPerSchema; ++i) {
      SchemaModel changed = schema;
      const Mutation mutation = MutateReached(changed, random);
      if (mutation.kind.empty()) continue;
      const Written after = Write(changed, random);
      if (after.text.empty()) continue;
      SCOPED_TRACE(testing::Message() << mutation.kind << " number " << i);
      ASSERT_NE(after.text, before.text);
      ASSERT_NE(after.digest, before.digest);
      ASSERT_THAT(CompareVersions(before.text, after.text).difference,
                  HasSubstr(mutation.named));
      ASSERT_THAT(CompareVersions(after.text, before.text).difference,
                  HasSubstr(mutation.named_by_the_other));
      // Each side comes to the same verdict.
      ASSERT_EQ(CompareVersions(before.text, after.text).kind,
                CompareVersions(after.text, before.text).kind);
      ++changes[mutation.kind];
      ++total;
    }
  }
  EXPECT_GT(total, 5000);
  EXPECT_EQ(changes.size(), MutationKinds().size());
  for (const auto& [kind, count] : changes) EXPECT_GT(count, 20) << kind;
}

// Fills a message with anything that its type allows.
class Filler final {
 public:
  explicit Filler(Random& random) : random_(random) {}

  void Fill(Message& message, int depth = 0) {
    const Descriptor& type = *message.GetDescriptor();
    const Reflection& reflection = *message.GetReflection();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      const bool is_message =
          field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
      // A required message that reaches itself has no end; what is unset then
      // is not looked at, since partial messages are written and read here.
      if (depth > 3 && is_message) continue;
      if (!field.is_required() && OneIn(random_, 3)) continue;
      // Of a map one entry, since several may have one key.
      const int count = field.is_map()        ? 1
                        : field.is_repeated() ? Pick(random_, 3)
                                              : 1;
      for (int n = 0; n < count; ++n) {
        if (is_message) {
          Message* const part =
              field.is_repeated() ? reflection.AddMessage(&message, &field)
                                  : reflection.MutableMessage(&message, &field);
          Fill(*part, depth + 1);
        } else {
          SetValue(message, reflection, field);
        }
      }
    }
  }

 private:
  void SetValue(Message& message, const Reflection& reflection,
                const FieldDescriptor& field) {
    const auto set = [&](auto add, auto set_one, auto value) {
      if (field.is_repeated()) {
        (reflection.*add)(&message, &field, value);
      } else {
        (reflection.*set_one)(&message, &field, value);
      }
    };
    // Zeros now and then: who sets one has set it.
    const auto number = static_cast<int32_t>(OneIn(random_, 4) ? 0 : random_());
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return set(&Reflection::AddInt32, &Reflection::SetInt32, number);
      case FieldDescriptor::CPPTYPE_INT64:
        return set(&Reflection::AddInt64, &Reflection::SetInt64, number);
      case FieldDescriptor::CPPTYPE_UINT32:
        return set(&Reflection::AddUInt32, &Reflection::SetUInt32, number);
      case FieldDescriptor::CPPTYPE_UINT64:
        return set(&Reflection::AddUInt64, &Reflection::SetUInt64, number);
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return set(&Reflection::AddDouble, &Reflection::SetDouble, number);
      case FieldDescriptor::CPPTYPE_FLOAT:
        return set(&Reflection::AddFloat, &Reflection::SetFloat, number);
      case FieldDescriptor::CPPTYPE_BOOL:
        return set(&Reflection::AddBool, &Reflection::SetBool, number % 2 != 0);
      case FieldDescriptor::CPPTYPE_ENUM: {
        const EnumDescriptor& values = *field.enum_type();
        return set(&Reflection::AddEnumValue, &Reflection::SetEnumValue,
                   values.value(Pick(random_, values.value_count()))->number());
      }
      default: {
        const std::string text = number == 0 ? "" : absl::StrCat(number);
        if (field.is_repeated()) {
          return reflection.AddString(&message, &field, text);
        }
        return reflection.SetString(&message, &field, text);
      }
    }
  }

  Random& random_;
};

// What `message` has in the fields that `other` has, too, as text.
std::string KnownToBoth(const Message& message, const Descriptor& other) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  std::string text;
  for (const FieldDescriptor* field : fields) {
    const FieldDescriptor* const twin =
        other.FindFieldByNumber(field->number());
    if (twin == nullptr) continue;
    std::vector<std::string> values;
    const int count =
        field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      std::string value;
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        value =
            KnownToBoth(field->is_repeated()
                            ? reflection.GetRepeatedMessage(message, field, i)
                            : reflection.GetMessage(message, field),
                        *twin->message_type());
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
        value = absl::StrCat(
            field->is_repeated()
                ? reflection.GetRepeatedEnumValue(message, field, i)
                : reflection.GetEnumValue(message, field));
      } else {
        google::protobuf::TextFormat::PrintFieldValueToString(
            message, field, field->is_repeated() ? i : -1, &value);
      }
      values.push_back(std::move(value));
    }
    if (field->is_map()) std::sort(values.begin(), values.end());
    absl::StrAppend(&text, field->number(), "{", absl::StrJoin(values, ","),
                    "}");
  }
  return text;
}

// What is written as `from` says to who reads it as `to` what it says to who
// reads it as `from`.
void ExpectReadsTheSame(const Descriptor& from, const Descriptor& to,
                        Random& random) {
  google::protobuf::DynamicMessageFactory factory;
  const auto make = [&factory](const Descriptor& type) {
    return std::unique_ptr<Message>(factory.GetPrototype(&type)->New());
  };
  const std::unique_ptr<Message> written = make(from);
  Filler(random).Fill(*written);
  const std::string bytes = written->SerializePartialAsString();
  const std::unique_ptr<Message> own = make(from);
  const std::unique_ptr<Message> read = make(to);
  ASSERT_TRUE(own->ParsePartialFromString(bytes));
  ASSERT_TRUE(read->ParsePartialFromString(bytes));
  ASSERT_EQ(KnownToBoth(*read, from), KnownToBoth(*own, to));
  // Nothing that one of them must have is missing in the other's.
  ASSERT_GE(read->IsInitialized(), own->IsInitialized());
}

TEST(SchemaPropertyTest, CompatibleVersionsReadEachOthersMessages) {
  std::map<std::string, int> compatible;
  std::map<std::string, int> incompatible;
  int several = 0;
  for (uint64_t seed = 1; seed <= kSchemas; ++seed) {
    Random random(seed);
    const SchemaModel schema = GenerateSchema(random);
    const auto old_pool = WriteSchema(schema, random);
    const Descriptor& old_type =
        *old_pool->FindMessageTypeByName(schema.root());
    SchemaModel changed = schema;
    int changes = 0;
    for (int i = 0; i < kMutationsPerSchema; ++i) {
      // A change that keeps the two compatible is kept for the next one.
      SchemaModel next = changed;
      const Mutation mutation = MutateReached(next, random);
      if (mutation.kind.empty()) continue;
      const auto new_pool = WriteSchema(next, random);
      if (new_pool == nullptr) continue;
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", "
                                      << mutation.kind << " number " << i);
      const Descriptor* const new_type =
          new_pool->FindMessageTypeByName(next.root());
      const Verdict verdict =
          CompareVersions(CanonicalText(old_type), CanonicalText(*new_type));
      if (verdict.kind == Verdict::Kind::kIncompatible) {
        ++incompatible[mutation.kind];
        continue;
      }
      ++compatible[mutation.kind];
      several += ++changes > 1;
      for (int message = 0; message < 4; ++message) {
        ExpectReadsTheSame(old_type, *new_type, random);
        ExpectReadsTheSame(*new_type, old_type, random);
        if (HasFatalFailure()) FAIL() << verdict.difference;
      }
      changed = next;
    }
  }
  EXPECT_GT(several, 1000);
  for (const std::string kind : {"add field", "remove field", "toggle packed",
                                 "add value", "add alias", "remove value"}) {
    EXPECT_GT(compatible[kind], 10) << kind;
  }
  for (const std::string kind :
       {"renumber", "rename", "retype", "make repeated", "make singular",
        "toggle required", "toggle presence", "change default",
        "move into oneof", "move out of oneof", "retarget message",
        "rename type", "rename value", "renumber value"}) {
    EXPECT_GT(incompatible[kind], 10) << kind;
  }
  // Of a closed enum.
  EXPECT_GT(incompatible["add value"], 5);
  EXPECT_GT(incompatible["remove value"], 5);
}

// What a version of one schema has or has not.
constexpr int kNumber = 1;
constexpr int kTexts = 2;
constexpr int kHides = 4;  // A field in which numbers of the enum are hidden.
constexpr int kValue = 8;  // A value of the enum.
constexpr int kVersions = 16;

SchemaModel VersionWith(int parts) {
  using Proto = FieldModel::Proto;
  SchemaModel schema;
  schema.layers.resize(3);
  schema.layers[0].proto3 = true;
  EnumModel kind{"gen.Kind", false, {{"ZERO", 0}, {"ONE", 1}}};
  if ((parts & kValue) != 0) kind.values.push_back({"TWO", 2});
  schema.layers[0].enums.push_back(kind);
  const auto field = [](int32_t number, const std::string& name,
                        Proto::Type type, const std::string& type_name = "") {
    FieldModel field;
    field.number = number;
    field.name = name;
    field.type = type;
    field.type_name = type_name;
    return field;
  };
  const FieldModel shown = field(1, "kind", Proto::TYPE_ENUM, "gen.Kind");
  MessageModel hiding;
  hiding.name = "gen.Hiding";
  hiding.fields = {shown};
  schema.layers[1].messages = {hiding};
  MessageModel root;
  root.name = "gen.Root";
  root.fields = {shown};
  if ((parts & kNumber) != 0) {
    root.fields.push_back(field(2, "number", Proto::TYPE_INT32));
  }
  if ((parts & kTexts) != 0) {
    root.fields.push_back(field(3, "texts", Proto::TYPE_STRING));
    root.fields.back().label = Proto::LABEL_REPEATED;
  }
  if ((parts & kHides) != 0) {
    root.fields.push_back(field(4, "hiding", Proto::TYPE_MESSAGE, hiding.name));
  }
  schema.layers[2].proto3 = true;
  schema.layers[2].messages = {root};
  return schema;
}

TEST(SchemaPropertyTest, ChangesThatAreCompatibleAloneAreSoTogether) {
  Random random(1);
  std::vector<std::string> texts;
  for (int parts = 0; parts < kVersions; ++parts) {
    texts.push_back(Write(VersionWith(parts), random).text);
    ASSERT_NE(texts.back(), "");
  }
  for (int ours = 0; ours < kVersions; ++ours) {
    for (int theirs = 0; theirs < kVersions; ++theirs) {
      SCOPED_TRACE(testing::Message() << ours << " and " << theirs);
      // Only where both have the field is it read with the other's numbers.
      const bool is_hidden =
          (ours & theirs & kHides) != 0 && ((ours ^ theirs) & kValue) != 0;
      EXPECT_EQ(CompareVersions(texts[ours], texts[theirs]).kind,
                ours == theirs ? Verdict::Kind::kExact
                : is_hidden    ? Verdict::Kind::kIncompatible
                               : Verdict::Kind::kCompatible);
    }
  }
}

TEST(SchemaPropertyTest, DigestsAreEqualExactlyWhenTextsAre) {
  std::map<std::string, Digest> digest_of;
  std::set<Digest> digests;
  for (uint64_t seed = 1; seed <= kSchemas; ++seed) {
    Random random(seed);
    SchemaModel schema = GenerateSchema(random);
    for (int i = 0; i < 10; ++i) {
      const Written written = Write(schema, random);
      if (!written.text.empty()) {
        const auto known = digest_of.insert({written.text, written.digest});
        ASSERT_EQ(known.first->second, written.digest) << "seed " << seed;
        digests.insert(written.digest);
      }
      MutateReached(schema, random);
    }
  }
  EXPECT_EQ(digests.size(), digest_of.size());
}

}  // namespace
}  // namespace mycelium
