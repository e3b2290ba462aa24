#include "mycelium/schema/descriptor_set.h"

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "gtest/gtest.h"

namespace mycelium {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptorProto;
using google::protobuf::FileDescriptorProto;
using google::protobuf::FileDescriptorSet;
using ::testing::HasSubstr;

std::string FileName(size_t number) { return absl::StrCat(number, ".proto"); }

// Files 0, 1, ..., each with a message M<number>, each importing the next.
FileDescriptorSet Chain(size_t length) {
  FileDescriptorSet set;
  for (size_t number = 0; number < length; ++number) {
    FileDescriptorProto& file = *set.add_file();
    file.set_name(FileName(number));
    file.add_message_type()->set_name(absl::StrCat("M", number));
    if (number + 1 == length) break;
    file.add_dependency(FileName(number + 1));
    file.add_public_dependency(0);
  }
  return set;
}

absl::Status MessageOf(const FileDescriptorSet& files,
                       const std::string& name) {
  DescriptorSet set;
  const auto added = set.Add(files.SerializeAsString());
  if (!added.ok()) return added.status();
  return set.Message(name).status();
}

TEST(DescriptorSetTest, ImportsOfTheGreatestDepthAreReadAndOneMoreIsNot) {
  EXPECT_TRUE(MessageOf(Chain(kImportsDepthMax), "M0").ok());
  const FileDescriptorSet longer = Chain(kImportsDepthMax + 1);
  const absl::Status refused = MessageOf(longer, "M0");
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.message(),
            "0.proto begins a chain of more than 256 files that import one "
            "another");
  EXPECT_TRUE(MessageOf(longer, "M1").ok());
}

// Whichever file is asked for first.
TEST(DescriptorSetTest, DepthCountsFilesThatAreBuiltAlready) {
  DescriptorSet set;
  ASSERT_TRUE(set.Add(Chain(kImportsDepthMax + 1).SerializeAsString()).ok());
  EXPECT_TRUE(set.Message("M1").ok());
  EXPECT_EQ(set.Message("M0").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(set.TopLevelMessages({FileName(0)}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(DescriptorSetTest, LongestChainCountsWhateverComesFirst) {
  FileDescriptorSet files = Chain(kImportsDepthMax + 1);
  // A short way to the end comes before the long one.
  FileDescriptorProto& first = *files.mutable_file(0);
  first.add_dependency(first.dependency(0));
  first.set_dependency(0, FileName(kImportsDepthMax));
  EXPECT_EQ(MessageOf(files, "M0").code(), absl::StatusCode::kInvalidArgument);
}

TEST(DescriptorSetTest, VeryLongChainsAreErrors) {
  EXPECT_EQ(MessageOf(Chain(20000), "M0").code(),
            absl::StatusCode::kInvalidArgument);
  // A type that is named without an import of its file.
  FileDescriptorSet files = Chain(20000);
  for (int number = 0; number + 1 < files.file_size(); ++number) {
    FileDescriptorProto& file = *files.mutable_file(number);
    file.clear_dependency();
    file.clear_public_dependency();
    FieldDescriptorProto& field = *file.mutable_message_type(0)->add_field();
    field.set_name("f");
    field.set_number(1);
    field.set_label(FieldDescriptorProto::LABEL_OPTIONAL);
    field.set_type_name(absl::StrCat(".M", number + 1));
  }
  const absl::Status refused = MessageOf(files, "M0");
  EXPECT_EQ(refused.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("M1"));
}

TEST(DescriptorSetTest, CircleOfImportsIsAnError) {
  FileDescriptorSet files = Chain(3);
  files.mutable_file(2)->add_dependency(FileName(1));
  const absl::Status refused = MessageOf(files, "M0");
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.message(), "1.proto imports itself");
}

TEST(DescriptorSetTest, MissingImportIsNamed) {
  FileDescriptorSet files = Chain(3);
  files.mutable_file()->RemoveLast();
  const absl::Status refused = MessageOf(files, "M0");
  EXPECT_EQ(refused.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(FileName(2)));
}

TEST(DescriptorSetTest, FileIsReadOnceWhatItImportsIsAdded) {
  FileDescriptorSet first = Chain(3);
  FileDescriptorSet rest;
  *rest.add_file() = first.file(2);
  first.mutable_file()->RemoveLast();
  DescriptorSet set;
  ASSERT_TRUE(set.Add(first.SerializeAsString()).ok());
  for (int time = 0; time < 2; ++time) {
    EXPECT_THAT(std::string(set.Message("M0").status().message()),
                HasSubstr(FileName(2)));
  }
  ASSERT_TRUE(set.Add(rest.SerializeAsString()).ok());
  EXPECT_TRUE(set.Message("M0").ok());
}

// However many ways lead there.
TEST(DescriptorSetTest, FileThatCannotBeBuiltIsTriedOnce) {
  FileDescriptorSet files = Chain(kImportsDepthMax);
  for (size_t number = 0; number + 2 < kImportsDepthMax; ++number) {
    files.mutable_file(static_cast<int>(number))
        ->add_dependency(FileName(number + 2));
  }
  files.mutable_file(files.file_size() - 1)->add_dependency("missing.proto");
  EXPECT_THAT(std::string(MessageOf(files, "M0").message()),
              HasSubstr("missing.proto"));
}

TEST(DescriptorSetTest, SetOfMoreThanTheGreatestSizeIsRefusedUnread) {
  DescriptorSet set;
  const absl::Status refused =
      set.Add(absl::string_view("", kDescriptorSetBytesMax + 1)).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.message(),
            "a FileDescriptorSet of 2147483648 bytes, at most 2147483647");
}

// protoc writes JSON names, and FileDescriptor::CopyTo() does not.
TEST(DescriptorSetTest, FileWithAndWithoutJsonNamesIsTheSame) {
  FileDescriptorSet plain = Chain(1);
  const auto add_fields = [](auto& message) {
    FieldDescriptorProto& field = *message.add_field();
    field.set_name("a_b");
    field.set_number(1);
    field.set_label(FieldDescriptorProto::LABEL_OPTIONAL);
    field.set_type(FieldDescriptorProto::TYPE_INT32);
    FieldDescriptorProto& extension = *message.add_extension();
    extension = field;
    extension.set_name("x_y");
    extension.set_extendee(".M0");
    extension.set_number(100);
  };
  FileDescriptorProto& file = *plain.mutable_file(0);
  auto& message = *file.mutable_message_type(0);
  auto& range = *message.add_extension_range();
  range.set_start(100);
  range.set_end(1000);
  add_fields(message);
  auto& nested = *message.add_nested_type();
  nested.set_name("Nested");
  add_fields(nested);
  nested.mutable_extension(0)->set_number(101);
  *file.add_extension() = message.extension(0);
  file.mutable_extension(0)->set_name("c_d");
  file.mutable_extension(0)->set_number(102);
  FileDescriptorSet named = plain;
  FileDescriptorProto& other = *named.mutable_file(0);
  auto& other_message = *other.mutable_message_type(0);
  auto& other_nested = *other_message.mutable_nested_type(0);
  for (FieldDescriptorProto* const field :
       {other.mutable_extension(0), other_message.mutable_field(0),
        other_message.mutable_extension(0), other_nested.mutable_field(0),
        other_nested.mutable_extension(0)}) {
    field->set_json_name("aB");
  }
  DescriptorSet set;
  ASSERT_TRUE(set.Add(plain.SerializeAsString()).ok());
  EXPECT_TRUE(set.Add(named.SerializeAsString()).ok());
  const absl::StatusOr<const Descriptor*> type = set.Message("M0.Nested");
  ASSERT_TRUE(type.ok()) << type.status();
  EXPECT_EQ((*type)->full_name(), "M0.Nested");
  other_nested.mutable_field(0)->set_name("a_c");
  EXPECT_EQ(set.Add(named.SerializeAsString()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace mycelium
