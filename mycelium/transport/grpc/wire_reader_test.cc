#include "mycelium/transport/grpc/wire_reader.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "gtest/gtest.h"

namespace mycelium {
namespace {

using ::google::protobuf::io::ArrayInputStream;

// Calls `read` with a reader of the bytes in pieces of each small size.
template <typename Read>
void InPieces(const std::string& bytes, Read read) {
  for (int piece = 1; piece < 13; ++piece) {
    ArrayInputStream in(bytes.data(), static_cast<int>(bytes.size()), piece);
    WireReader reader(in, bytes.size());
    read(reader);
  }
}

bool Skips(const std::string& bytes) {
  ArrayInputStream in(bytes.data(), static_cast<int>(bytes.size()));
  WireReader reader(in, bytes.size());
  const uint32_t tag = reader.Tag();
  return tag != 0 && reader.Skip(tag) && reader.IsAtEnd();
}

std::string Groups(int count) {
  return std::string(static_cast<size_t>(count), '\x0B') +
         std::string(static_cast<size_t>(count), '\x0C');
}

TEST(WireReaderTest, NumbersComeOutAsProtobufWritesThem) {
  const std::vector<uint64_t> numbers = {
      0, 1, 127, 128, 300, 1u << 28, uint64_t{1} << 35, ~uint64_t{0}};
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream out(&bytes);
    google::protobuf::io::CodedOutputStream coded(&out);
    for (const uint64_t number : numbers) {
      coded.WriteVarint64(number);
      coded.WriteLittleEndian64(number);
    }
  }
  InPieces(bytes, [&](WireReader& reader) {
    for (const uint64_t number : numbers) {
      uint64_t varint, fixed;
      ASSERT_TRUE(reader.Varint(&varint) && reader.Fixed64(&fixed));
      EXPECT_EQ(varint, number);
      EXPECT_EQ(fixed, number);
    }
    EXPECT_TRUE(reader.IsAtEnd());
  });
}

TEST(WireReaderTest, NumberThatDoesNotEndIsRefused) {
  const std::string unfinished(9, '\xFF');
  uint64_t number;
  InPieces(unfinished,
           [&](WireReader& reader) { EXPECT_FALSE(reader.Varint(&number)); });
  InPieces(unfinished + "\xFF\x01",
           [&](WireReader& reader) { EXPECT_FALSE(reader.Varint(&number)); });
  InPieces(unfinished + "\x01",
           [&](WireReader& reader) { EXPECT_TRUE(reader.Varint(&number)); });
}

TEST(WireReaderTest, NothingIsReadBeyondALimit) {
  InPieces("\x05tail", [](WireReader& reader) {
    size_t bytes;
    EXPECT_FALSE(reader.Length(&bytes));
  });
  InPieces("\x04tail", [](WireReader& reader) {
    size_t bytes;
    ASSERT_TRUE(reader.Length(&bytes));
    const size_t outer = reader.EnterLimit(bytes - 1);
    char tail[4];
    EXPECT_FALSE(reader.Raw(tail, 4));
    EXPECT_TRUE(reader.Raw(tail, 3));
    EXPECT_EQ(reader.Tag(), 0u);
    EXPECT_TRUE(reader.IsAtEnd());
    reader.LeaveLimit(outer);
    EXPECT_TRUE(reader.Raw(tail, 1));
    EXPECT_EQ(tail[0], 'l');
  });
}

TEST(WireReaderTest, BytesThatAreAnnouncedAndNotThereAreNotRead) {
  const std::string bytes = "abc";
  ArrayInputStream in(bytes.data(), 3);
  WireReader reader(in, 4);
  char read[4];
  EXPECT_FALSE(reader.Raw(read, 4));
}

TEST(WireReaderTest, TagThatIsNoneIsNoEnd) {
  for (const std::string& tag : {std::string(1, '\0'), std::string("\xFF"),
                                 std::string("\x80\x80\x80\x80\x10")}) {
    InPieces(tag, [](WireReader& reader) {
      EXPECT_EQ(reader.Tag(), 0u);
      EXPECT_FALSE(reader.IsAtEnd());
    });
  }
}

TEST(WireReaderTest, FieldsOfEveryKindAreSkipped) {
  EXPECT_TRUE(Skips("\x08\xFF\x01"));
  EXPECT_TRUE(
      Skips("\x09"
            "12345678"));
  EXPECT_TRUE(
      Skips("\x0A\x03"
            "abc"));
  EXPECT_TRUE(
      Skips("\x0D"
            "1234"));
  EXPECT_TRUE(Skips("\x0B\x10\x01\x0C"));  // A group with a number in it.
}

TEST(WireReaderTest, FieldsThatAreNoneAreNotSkipped) {
  EXPECT_FALSE(
      Skips("\x01"
            "12345678"));  // Of number 0.
  EXPECT_FALSE(
      Skips("\x0A\x04"
            "abc"));
  EXPECT_FALSE(
      Skips("\x09"
            "1234567"));
  EXPECT_FALSE(Skips("\x0B\x10\x01"));
  EXPECT_FALSE(Skips("\x0B\x14"));  // The end of another group,
  EXPECT_FALSE(Skips("\x0C"));      // or of none.
  EXPECT_FALSE(Skips("\x0E"));
}

TEST(WireReaderTest, GroupsLieInEachOtherUpToABound) {
  EXPECT_TRUE(Skips(Groups(64)));
  EXPECT_FALSE(Skips(Groups(65)));
}

}  // namespace
}  // namespace mycelium
