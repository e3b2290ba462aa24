// Encoder and decoder against each other: they are one format.

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/codec/frame_encoder.h"

namespace mycelium {
namespace {

constexpr size_t kFrameBytesMax = 64 * 1024;

// A frame in memory of exactly its size, so that a sanitizer sees each byte
// that is read beyond its end.
std::vector<std::byte> Encode(const FrameFields& fields, uint64_t sequence,
                              const std::string& payload) {
  std::vector<std::byte> frame(EncodedFrameBytes(fields, payload.size()));
  const absl::Span<std::byte> room =
      EncodeFrame(fields, sequence, payload.size(), absl::MakeSpan(frame));
  EXPECT_EQ(room.size(), payload.size());
  EXPECT_EQ(room.data() + room.size(), frame.data() + frame.size());
  if (!payload.empty()) {
    std::memcpy(room.data(), payload.data(), payload.size());
  }
  const auto bytes = static_cast<uint32_t>(frame.size());
  std::memcpy(frame.data(), &bytes, sizeof bytes);  // The commit word.
  return frame;
}

// The verdict only: what `view` points at is gone.
FrameVerdict Decode(absl::Span<const std::byte> bytes, FrameView* view) {
  // A copy without a byte more.
  const std::unique_ptr<std::byte[]> exact(new std::byte[bytes.size()]);
  if (!bytes.empty()) std::memcpy(exact.get(), bytes.data(), bytes.size());
  return DecodeFrame(absl::MakeConstSpan(exact.get(), bytes.size()),
                     kFrameBytesMax, kFrameFlagsOnWire, view);
}

std::string Text(absl::Span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

FrameFields FullFields() {
  FrameFields fields;
  fields.digest_prefix = 0x1122334455667788;
  fields.publisher_sequence = 42;
  fields.publisher_id = 7;
  fields.flags = kFramePublishTime;
  fields.publish_time_ns = 1'700'000'000'000'000'123;
  fields.extension = "nine bytes";
  return fields;
}

TEST(FrameCodecTest, DecoderReadsWhatTheEncoderWrote) {
  for (const size_t payload_bytes : {0, 1, 7, 8, 9, 1000, 60'000}) {
    for (const bool has_time : {false, true}) {
      for (const size_t extension_bytes : {0, 1, 8, 100}) {
        const std::string extension(extension_bytes, 'e');
        const std::string payload(payload_bytes, 'p');
        FrameFields fields = FullFields();
        fields.flags = has_time ? kFramePublishTime : 0;
        fields.extension = extension;
        const std::vector<std::byte> frame = Encode(fields, 5, payload);
        EXPECT_EQ(frame.size(), 40u + (has_time ? 8 : 0) +
                                    (extension_bytes + 7) / 8 * 8 +
                                    payload_bytes);
        FrameView view;
        ASSERT_EQ(DecodeFrame(frame, kFrameBytesMax, kFrameFlagsOnWire, &view),
                  FrameVerdict::kOk);
        EXPECT_EQ(view.header.frame_bytes, frame.size());
        EXPECT_EQ(view.header.lane_sequence, 5u);
        EXPECT_EQ(view.header.digest_prefix, fields.digest_prefix);
        EXPECT_EQ(view.header.publisher_sequence, 42u);
        EXPECT_EQ(view.header.publisher_id, 7u);
        EXPECT_EQ(view.lost_before, 0u);
        EXPECT_EQ(view.publish_time_ns, has_time ? fields.publish_time_ns : 0);
        EXPECT_EQ(Text(view.payload), payload);
        EXPECT_EQ(Text(view.extension), extension);
        // Zeros follow, so that the payload is aligned.
        const std::byte* const end =
            view.extension.data() + view.extension.size();
        const size_t padding =
            PaddedExtensionBytes(extension_bytes) - extension_bytes;
        EXPECT_EQ(std::string(reinterpret_cast<const char*>(end), padding),
                  std::string(padding, '\0'));
      }
    }
  }
}

TEST(FrameCodecTest, EncoderLeavesTheCommitWordAlone) {
  std::vector<std::byte> frame(EncodedFrameBytes(FullFields(), 8));
  std::memset(frame.data(), 0x5A, 4);
  EncodeFrame(FullFields(), 1, 8, absl::MakeSpan(frame));
  uint32_t word;
  std::memcpy(&word, frame.data(), sizeof word);
  EXPECT_EQ(word, 0x5A5A5A5Au);
}

TEST(FrameCodecTest, BytesBehindTheFrameAreNotPartOfIt) {
  std::vector<std::byte> frame = Encode(FullFields(), 1, "payload");
  const size_t bytes = frame.size();
  frame.resize(bytes + 100);
  FrameView view;
  ASSERT_EQ(DecodeFrame(frame, kFrameBytesMax, kFrameFlagsOnWire, &view),
            FrameVerdict::kOk);
  EXPECT_EQ(Text(view.payload), "payload");
}

TEST(FrameDecoderTest, EveryTruncationIsTruncated) {
  const std::vector<std::byte> frame = Encode(FullFields(), 1, "the payload");
  FrameView view;
  for (size_t bytes = 0; bytes < frame.size(); ++bytes) {
    EXPECT_EQ(Decode(absl::MakeConstSpan(frame).first(bytes), &view),
              FrameVerdict::kTruncated)
        << bytes;
  }
  EXPECT_EQ(Decode(frame, &view), FrameVerdict::kOk);
}

TEST(FrameDecoderTest, HeaderThatIsNotOursIsCorrupt) {
  const std::vector<std::byte> good = Encode(FullFields(), 1, "the payload");
  const auto with = [&](size_t offset, auto value) {
    std::vector<std::byte> frame = good;
    std::memcpy(frame.data() + offset, &value, sizeof value);
    FrameView view;
    return Decode(frame, &view);
  };
  constexpr size_t kBytes = offsetof(FrameHeader, frame_bytes);
  constexpr size_t kFlags = offsetof(FrameHeader, flags);
  constexpr size_t kExtension = offsetof(FrameHeader, extension_bytes);
  EXPECT_EQ(with(kBytes, uint32_t{0}), FrameVerdict::kCorrupt);
  EXPECT_EQ(with(kBytes, uint32_t{39}), FrameVerdict::kCorrupt);
  EXPECT_EQ(with(kBytes, uint32_t{40}), FrameVerdict::kCorrupt)
      << "no room for the publish time";
  EXPECT_EQ(with(kBytes, uint32_t{kFrameBytesMax}), FrameVerdict::kTruncated);
  EXPECT_EQ(with(kBytes, uint32_t{kFrameBytesMax + 1}), FrameVerdict::kCorrupt);
  EXPECT_EQ(with(kBytes, ~uint32_t{0}), FrameVerdict::kCorrupt);
  for (int bit = 0; bit < 16; ++bit) {
    const auto flag = static_cast<uint16_t>(1 << bit);
    if (flag == kFramePublishTime) continue;
    EXPECT_EQ(with(kFlags, flag), FrameVerdict::kCorrupt) << bit;
  }
  EXPECT_EQ(with(kExtension, uint16_t{0xFFFF}), FrameVerdict::kCorrupt);
  // The extension takes whole multiples of eight.
  const size_t rest = good.size() - sizeof(FrameHeader) - kPublishTimeBytes;
  const auto all =
      static_cast<uint16_t>(rest / kExtensionAlignment * kExtensionAlignment);
  EXPECT_EQ(with(kExtension, all), FrameVerdict::kOk) << "nothing but it";
  EXPECT_EQ(with(kExtension, static_cast<uint16_t>(all + 1)),
            FrameVerdict::kCorrupt);
}

TEST(FrameDecoderTest, FlagsAreCorruptUnlessTheReaderAllowsThem) {
  FrameFields fields;
  fields.flags = kFrameObject;
  const std::vector<std::byte> frame = Encode(fields, 1, "12345678");
  FrameView view;
  EXPECT_EQ(DecodeFrame(frame, kFrameBytesMax, kFrameObject, &view),
            FrameVerdict::kOk);
  EXPECT_EQ(DecodeFrame(frame, kFrameBytesMax, 0, &view),
            FrameVerdict::kCorrupt);
}

TEST(FrameDecoderTest, RandomBytesNeverLeadOutsideThem) {
  constexpr uint32_t kSeed = 31337;
  std::mt19937 random(kSeed);
  int read = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::vector<std::byte> bytes(random() % 256);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    if (bytes.size() >= sizeof(FrameHeader) && round % 2 == 0) {
      // Plausible, so that more than the first check is reached.
      FrameHeader header;
      std::memcpy(&header, bytes.data(), sizeof header);
      header.frame_bytes = static_cast<uint32_t>(random() % 300);
      header.flags = random() % 2 == 0 ? kFramePublishTime : 0;
      header.extension_bytes = static_cast<uint16_t>(random() % 300);
      std::memcpy(bytes.data(), &header, sizeof header);
    }
    FrameView view;
    const FrameVerdict verdict =
        DecodeFrame(bytes, kFrameBytesMax, kFrameFlagsOnWire, &view);
    if (verdict != FrameVerdict::kOk) continue;
    ++read;
    const std::byte* const end = bytes.data() + view.header.frame_bytes;
    ASSERT_LE(end, bytes.data() + bytes.size()) << "seed " << kSeed;
    ASSERT_EQ(view.payload.data() + view.payload.size(), end);
    ASSERT_GE(view.extension.data(), bytes.data() + sizeof(FrameHeader));
    ASSERT_EQ(
        view.extension.data() + PaddedExtensionBytes(view.extension.size()),
        view.payload.data());
  }
  EXPECT_GT(read, 1000);
}

TEST(FrameDecoderTest, DescriptionOfACorruptFrameSaysWhatItHas) {
  std::vector<std::byte> frame = Encode(FullFields(), 11, "x");
  const absl::Status whole = DescribeCorruptFrame(frame, 100);
  EXPECT_EQ(whole.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(whole.message().find("flags 4"), std::string::npos) << whole;
  EXPECT_NE(whole.message().find("sequence 11"), std::string::npos) << whole;
  frame.resize(3);
  EXPECT_EQ(DescribeCorruptFrame(frame, 100).code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace mycelium
