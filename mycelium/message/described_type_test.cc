#include "mycelium/message/described_type.h"

#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.pb.h"
#include "gtest/gtest.h"
#include "mycelium/message/protobuf_type.h"
#include "mycelium/schema/testdata/golden_proto3.pb.h"

namespace mycelium {
namespace {

using ::google::protobuf::FileDescriptor;
using ::google::protobuf::FileDescriptorSet;
using ::testing::HasSubstr;

void AddFile(const FileDescriptor& file, FileDescriptorSet* set) {
  file.CopyTo(set->add_file());
  for (int i = 0; i < file.dependency_count(); ++i) {
    AddFile(*file.dependency(i), set);
  }
}

TEST(DescribedMessageTypeTest, IsTheTypeOfTheGeneratedMessage) {
  FileDescriptorSet set;
  AddFile(*golden::three::Imports::descriptor()->file(), &set);
  absl::StatusOr<MessageType> type =
      DescribedMessageType("golden.three.Imports", set.SerializeAsString());
  ASSERT_TRUE(type.ok()) << type.status();
  const MessageType& generated = MessageTypeOf<golden::three::Imports>();
  EXPECT_EQ(type->name, generated.name);
  EXPECT_EQ(type->digest, generated.digest);
  EXPECT_EQ(type->canonical_text, generated.canonical_text);
  EXPECT_TRUE(type->is_raw());
}

TEST(DescribedMessageTypeTest, MissingImportIsNotFoundAndNamed) {
  FileDescriptorSet set;
  golden::three::Imports::descriptor()->file()->CopyTo(set.add_file());
  absl::StatusOr<MessageType> type =
      DescribedMessageType("golden.three.Imports", set.SerializeAsString());
  EXPECT_EQ(type.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(type.status().message()),
              HasSubstr("google/protobuf/timestamp.proto"));
}

TEST(DescribedMessageTypeTest, BytesThatAreNoSetAreInvalid) {
  EXPECT_EQ(DescribedMessageType("a.B", "\xff").status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace mycelium
