#include "mycelium/transport/record_reader.h"

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace mycelium {
namespace {

using What = RecordReader::FrameStep::What;
using ::absl::StatusCode;

absl::Span<const std::byte> Bytes(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
std::string Text(absl::Span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

RecordHeader HeaderOf(RecordKind kind, size_t body_bytes) {
  RecordHeader header = {};
  header.magic = kRecordMagic;
  header.kind = static_cast<uint8_t>(kind);
  header.body_bytes = static_cast<uint32_t>(body_bytes);
  return header;
}
std::string Record(const RecordHeader& header, const std::string& body = "") {
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) +
         body;
}
std::string Record(RecordKind kind, const std::string& body) {
  RecordHeader header = HeaderOf(kind, body.size());
  if (kind == RecordKind::kData) {
    header.lane = 3;
    header.position = 64;
  }
  return Record(header, body);
}

// Its frames are of eight bytes.
class Listing final : public RecordReader::Handler {
 public:
  absl::Status OnControlRecord(absl::Span<const std::byte> body) override {
    absl::StrAppend(&list, "control(", Text(body), ") ");
    return absl::OkStatus();
  }
  absl::Status OnAckRecord(absl::Span<const std::byte> body) override {
    absl::StrAppend(&list, "ack(", Text(body), ") ");
    return absl::OkStatus();
  }
  absl::Status OnDataRecord(uint32_t lane, uint64_t position) override {
    absl::StrAppend(&list, "data(", lane, ",", position, ") ");
    return absl::OkStatus();
  }
  RecordReader::FrameStep OnFrameBytes(
      absl::Span<const std::byte> bytes) override {
    EXPECT_FALSE(bytes.empty());
    if (bytes.size() < 8) return {What::kNeedMore, 0, {}};
    if (bytes[0] == std::byte{'!'}) {
      return {What::kError, 0, absl::DataLossError("a bad frame")};
    }
    absl::StrAppend(&list, "frame(", Text(bytes.subspan(0, 8)), ") ");
    return {What::kTook, 8, {}};
  }
  std::string list;
};

// What a reader makes of a stream that ends with it.
absl::Status ReadAll(const std::string& stream, std::string* list = nullptr) {
  RecordReader reader;
  Listing listing;
  size_t used = 0;
  absl::Status read = reader.Read(Bytes(stream), listing, &used);
  EXPECT_LE(used, stream.size());
  if (list != nullptr) *list = listing.list;
  return read;
}

TEST(RecordReaderTest, AnySplitOfTheStreamGivesTheSameRecords) {
  const std::string stream = Record(RecordKind::kControl, "hello") +
                             Record(RecordKind::kAck, "aaaabbbb") +
                             Record(RecordKind::kData, "1111111122222222") +
                             Record(RecordKind::kData, "") +
                             Record(RecordKind::kControl, "");
  const std::string expected =
      "control(hello) ack(aaaabbbb) data(3,64) frame(11111111) "
      "frame(22222222) data(3,64) control() ";
  std::mt19937 random(4242);
  for (int round = 0; round < 3000; ++round) {
    RecordReader reader;
    Listing listing;
    std::string pending;
    for (size_t at = 0; at < stream.size();) {
      const size_t piece = round == 0 ? 1 : 1 + random() % 40;
      pending += stream.substr(at, piece);
      at += piece;
      size_t used = 0;
      ASSERT_TRUE(reader.Read(Bytes(pending), listing, &used).ok());
      pending.erase(0, used);
    }
    ASSERT_EQ(listing.list, expected) << "round " << round;
    ASSERT_EQ(pending, "");
  }
}

TEST(RecordReaderTest, ResetForgetsAHalfReadRecord) {
  RecordReader reader;
  Listing listing;
  size_t used = 0;
  const std::string half =
      Record(RecordKind::kData, "1111111122222222").substr(0, 32);
  ASSERT_TRUE(reader.Read(Bytes(half), listing, &used).ok());
  reader.Reset();
  used = 0;
  const std::string fresh = Record(RecordKind::kControl, "x");
  ASSERT_TRUE(reader.Read(Bytes(fresh), listing, &used).ok());
  EXPECT_EQ(listing.list, "data(3,64) frame(11111111) control(x) ");
}

TEST(RecordReaderTest, HeaderThatIsNotOursIsDataLoss) {
  RecordHeader header = HeaderOf(RecordKind::kControl, 0);
  EXPECT_TRUE(ReadAll(Record(header)).ok());
  header.magic ^= 1;
  EXPECT_EQ(ReadAll(Record(header)).code(), StatusCode::kDataLoss);
  for (const int kind : {0, 4, 255}) {
    header = HeaderOf(static_cast<RecordKind>(kind), 0);
    EXPECT_EQ(ReadAll(Record(header)).code(), StatusCode::kDataLoss) << kind;
  }
  header = HeaderOf(RecordKind::kControl, 0);
  header.reserved = 1;
  EXPECT_EQ(ReadAll(Record(header)).code(), StatusCode::kDataLoss);
  header = HeaderOf(RecordKind::kControl, 0);
  header.reserved2 = 1;
  EXPECT_EQ(ReadAll(Record(header)).code(), StatusCode::kDataLoss);
}

TEST(RecordReaderTest, ControlMayHaveItsMaximumAndNotOneByteMore) {
  for (const RecordKind kind : {RecordKind::kControl, RecordKind::kAck}) {
    std::string list;
    EXPECT_TRUE(
        ReadAll(Record(kind, std::string(kControlBytesMax, 'c')), &list).ok());
    EXPECT_GT(list.size(), kControlBytesMax);
    EXPECT_EQ(ReadAll(Record(HeaderOf(kind, kControlBytesMax + 1))).code(),
              StatusCode::kDataLoss);
  }
}

TEST(RecordReaderTest, FrameBeyondItsRecordIsDataLoss) {
  std::string list;
  const absl::Status read = ReadAll(Record(RecordKind::kData, "1111111122") +
                                        Record(RecordKind::kControl, "next"),
                                    &list);
  EXPECT_EQ(read.code(), StatusCode::kDataLoss);
  EXPECT_EQ(list, "data(3,64) frame(11111111) ");
}

TEST(RecordReaderTest, ErrorOfAFrameEndsTheReading) {
  std::string list;
  const absl::Status read = ReadAll(Record(RecordKind::kData, "!1111111") +
                                        Record(RecordKind::kControl, "next"),
                                    &list);
  EXPECT_EQ(read.message(), "a bad frame");
  EXPECT_EQ(list, "data(3,64) ");
}

TEST(RecordReaderTest, RandomBytesEndInAnErrorOrWaitForMore) {
  std::mt19937 random(99);
  for (int round = 0; round < 20'000; ++round) {
    std::string stream(random() % 100, '\0');
    for (char& byte : stream) byte = static_cast<char>(random());
    if (stream.size() > 3 && round % 2 == 0) {
      std::memcpy(stream.data(), &kRecordMagic, sizeof kRecordMagic);
      stream[2] = static_cast<char>(1 + random() % 3);
      stream[3] = 0;
    }
    (void)ReadAll(stream);
  }
}

TEST(ControlHeaderTest, GarbageShowsWithTheFirstTwoBytes) {
  bool complete = true;
  size_t body_bytes = 0;
  const std::string good = Record(RecordKind::kControl, "body");
  for (size_t bytes = 0; bytes < good.size(); ++bytes) {
    EXPECT_TRUE(CheckControlHeader(Bytes(good.substr(0, bytes)), 4, &complete,
                                   &body_bytes)
                    .ok());
    EXPECT_FALSE(complete) << bytes;
  }
  EXPECT_TRUE(CheckControlHeader(Bytes(good), 4, &complete, &body_bytes).ok());
  EXPECT_TRUE(complete);
  EXPECT_EQ(body_bytes, 4u);
  EXPECT_FALSE(CheckControlHeader(Bytes(good), 3, &complete, &body_bytes).ok());
  const std::string http = "GE";
  EXPECT_FALSE(CheckControlHeader(Bytes(http), 4, &complete, &body_bytes).ok());
  const std::string data = Record(RecordKind::kData, "");
  EXPECT_FALSE(CheckControlHeader(Bytes(data), 4, &complete, &body_bytes).ok());
}

}  // namespace
}  // namespace mycelium
