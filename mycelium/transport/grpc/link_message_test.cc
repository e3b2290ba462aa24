// The encoder and the decoder, against the classes that protoc made of the same
// messages.
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "gtest/gtest.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/transport/grpc/link_message_decoder.h"
#include "mycelium/transport/grpc/link_message_encoder.h"
#include "mycelium/transport/grpc/link_message_format.h"
#include "mycelium/transport/outgoing.h"
#include "proto/mycelium/v1/link.pb.h"

namespace mycelium {
namespace {

constexpr size_t kFrameBytesMax = 2 << 20;
constexpr uint64_t kDigest = 0x0807060504030201;

std::string Frame(uint64_t lane_sequence, const std::string& payload,
                  uint64_t publish_time = 0) {
  FrameHeader header = {};
  const size_t before = sizeof header + (publish_time != 0 ? 8 : 0);
  header.frame_bytes = static_cast<uint32_t>(before + payload.size());
  header.flags = publish_time != 0 ? kFramePublishTime : 0;
  header.lane_sequence = lane_sequence;
  header.digest_prefix = kDigest;
  header.publisher_sequence = 100 + lane_sequence;
  header.publisher_id = 7;
  std::string frame(AlignedFrameBytes(header.frame_bytes), '\0');
  std::memcpy(frame.data(), &header, sizeof header);
  if (publish_time != 0) std::memcpy(frame.data() + 40, &publish_time, 8);
  std::memcpy(frame.data() + before, payload.data(), payload.size());
  return frame;
}

std::string Header(RecordKind kind, size_t body_bytes, uint32_t lane = 0,
                   uint64_t position = 0) {
  RecordHeader header = {};
  header.magic = kRecordMagic;
  header.kind = static_cast<uint8_t>(kind);
  header.lane = lane;
  header.position = position;
  header.body_bytes = static_cast<uint32_t>(body_bytes);
  return std::string(reinterpret_cast<const char*>(&header), sizeof header);
}

std::string Ack(uint32_t lane, uint64_t received, uint64_t handled) {
  const AckEntry entry = {lane, 0, received, handled};
  return std::string(reinterpret_cast<const char*>(&entry), sizeof entry);
}

// Pieces as a link has them: header and body apart.
class Pieces final {
 public:
  Pieces& Add(std::string piece) {
    pieces_.push_back(std::move(piece));
    return *this;
  }
  std::vector<iovec> iovecs(size_t skipped = 0) {
    std::vector<iovec> all;
    for (std::string& piece : pieces_) {
      const size_t here = std::min(skipped, piece.size());
      skipped -= here;
      if (here < piece.size()) {
        all.push_back({piece.data() + here, piece.size() - here});
      }
    }
    return all;
  }
  std::string bytes() const {
    std::string all;
    for (const std::string& piece : pieces_) all += piece;
    return all;
  }

 private:
  std::vector<std::string> pieces_;
};

std::string TextOf(const ByteSink& sink) {
  return std::string(reinterpret_cast<const char*>(sink.data()), sink.size());
}

std::string Encoded(Pieces& pieces) {
  LinkMessageEncoder encoder;
  ByteSink message;
  EXPECT_EQ(encoder.Encode(pieces.iovecs(), kFrameBytesMax, &message),
            pieces.bytes().size());
  return TextOf(message);
}

absl::Status Decode(const std::string& message, std::string* records,
                    size_t frame_bytes_max = kFrameBytesMax,
                    int block_bytes = -1) {
  google::protobuf::io::ArrayInputStream in(
      message.data(), static_cast<int>(message.size()), block_bytes);
  ByteSink sink;
  const absl::Status status =
      LinkMessageDecoder(frame_bytes_max).Decode(in, message.size(), &sink);
  *records = TextOf(sink);
  return status;
}

v1::LinkMessage Parsed(const std::string& bytes) {
  v1::LinkMessage message;
  EXPECT_TRUE(message.ParseFromString(bytes));
  return message;
}

v1::LinkMessage OneEnvelope(const std::string& payload = "hello") {
  v1::LinkMessage message;
  v1::EnvelopeBatch& batch = *message.add_items()->mutable_batch();
  batch.set_lane(3);
  batch.set_position(4096);
  batch.set_sequence(9);
  v1::Envelope& envelope = *batch.add_envelopes();
  envelope.set_publisher(7);
  envelope.set_publisher_sequence(109);
  envelope.set_type_digest_prefix(kDigest);
  envelope.set_payload(payload);
  return message;
}

TEST(LinkMessageEncoderTest, BatchIsWhatProtocSays) {
  const std::string frames =
      Frame(9, "hello") + Frame(10, "", 77) + Frame(13, "x");
  Pieces pieces;
  pieces.Add(Header(RecordKind::kData, frames.size(), 3, 4096)).Add(frames);
  const v1::LinkMessage message = Parsed(Encoded(pieces));
  ASSERT_EQ(message.items_size(), 1);
  const v1::EnvelopeBatch& batch = message.items(0).batch();
  EXPECT_EQ(batch.lane(), 3u);
  EXPECT_EQ(batch.position(), 4096u);
  EXPECT_EQ(batch.sequence(), 9u);
  ASSERT_EQ(batch.envelopes_size(), 3);
  EXPECT_EQ(batch.envelopes(0).publisher(), 7u);
  EXPECT_EQ(batch.envelopes(0).publisher_sequence(), 109u);
  EXPECT_EQ(batch.envelopes(0).type_digest_prefix(), kDigest);
  EXPECT_EQ(batch.envelopes(0).payload(), "hello");
  EXPECT_FALSE(batch.envelopes(0).has_publish_time_unix_ns());
  EXPECT_EQ(batch.envelopes(1).publish_time_unix_ns(), 77u);
  EXPECT_EQ(batch.envelopes(1).payload(), "");
  EXPECT_EQ(batch.envelopes(1).skipped(), 0u);
  EXPECT_EQ(batch.envelopes(2).skipped(), 2u);
}

TEST(LinkMessageEncoderTest, DigestPrefixLiesOnTheWireAsInTheDigest) {
  Pieces pieces;
  const std::string frame = Frame(1, "p");
  pieces.Add(Header(RecordKind::kData, frame.size())).Add(frame);
  EXPECT_NE(Encoded(pieces).find("\x01\x02\x03\x04\x05\x06\x07\x08"),
            std::string::npos);
}

TEST(LinkMessageEncoderTest, ControlAndAcknowledgementsComeInTheirOrder) {
  v1::Control control;
  control.mutable_goodbye()->set_final(true);
  std::string record;
  AppendControlRecord(control.SerializeAsString(), &record);
  const std::string acks = Ack(1, 64, 32) + Ack(0, 8, 8);
  Pieces pieces;
  pieces.Add(record + record)
      .Add(Header(RecordKind::kAck, acks.size()))
      .Add(acks);
  const v1::LinkMessage message = Parsed(Encoded(pieces));
  ASSERT_EQ(message.items_size(), 4);
  EXPECT_TRUE(message.items(1).control().goodbye().final());
  EXPECT_EQ(message.items(2).ack().lane(), 1u);
  EXPECT_EQ(message.items(2).ack().received(), 64u);
  EXPECT_EQ(message.items(2).ack().handled(), 32u);
  EXPECT_EQ(message.items(3).ack().lane(), 0u);
}

TEST(LinkMessageEncoderTest, RecordWithoutABodyMayBeTheLast) {
  std::string record;
  AppendControlRecord("", &record);
  Pieces pieces;
  pieces.Add(record);
  const v1::LinkMessage message = Parsed(Encoded(pieces));
  ASSERT_EQ(message.items_size(), 1);
  EXPECT_TRUE(message.items(0).has_control());
}

// What frames can become if a peer acknowledges them too soon.
TEST(LinkMessageEncoderTest, WhatAreNoFramesIsFoundAndNotSent) {
  const std::string good = Frame(1, std::string(100, 'x'));
  const auto header_with = [&good](size_t at, uint32_t value, size_t bytes) {
    std::string frame = good;
    std::memcpy(&frame[at], &value, bytes);
    return frame;
  };
  constexpr size_t kFlags = offsetof(FrameHeader, flags);
  constexpr size_t kExtension = offsetof(FrameHeader, extension_bytes);
  const std::string bad[] = {
      header_with(0, 0, 4),  // The frame would not end.
      header_with(0, 39, 4),
      header_with(0, static_cast<uint32_t>(good.size() + 1), 4),
      header_with(0, 0xFFFFFFFF, 4),
      header_with(kExtension, 200, 2),
      header_with(0, 40, 4).replace(kFlags, 1, 1, kFramePublishTime),
      good.substr(0, 32),               // Too short for a header.
      good.substr(0, good.size() - 8),  // It is not all that it takes.
  };
  for (const std::string& frame : bad) {
    for (const std::string& before : {std::string(), good}) {
      const std::string frames = before + frame;
      Pieces pieces;
      pieces.Add(Header(RecordKind::kData, frames.size(), 5, 640)).Add(frames);
      LinkMessageEncoder encoder;
      ByteSink message;
      EXPECT_EQ(encoder.Encode(pieces.iovecs(), kFrameBytesMax, &message),
                sizeof(RecordHeader));
      EXPECT_TRUE(encoder.is_broken());
      EXPECT_EQ(message.size(), 0u);
    }
  }
}

TEST(LinkMessageEncoderTest, FramesThatFillSeveralBatchesComeInOrder) {
  std::string frames;
  for (uint64_t i = 1; i <= 1000; ++i) frames += Frame(i, "12345678");
  Pieces pieces;
  pieces.Add(Header(RecordKind::kData, frames.size(), 5, 640)).Add(frames);
  const v1::LinkMessage message = Parsed(Encoded(pieces));
  uint64_t sequence = 1;
  uint64_t position = 640;
  for (const v1::LinkItem& item : message.items()) {
    EXPECT_EQ(item.batch().sequence(), sequence);
    EXPECT_EQ(item.batch().position(), position);
    sequence += static_cast<uint64_t>(item.batch().envelopes_size());
    position += AlignedFrameBytes(sizeof(FrameHeader) + 8) *
                static_cast<uint64_t>(item.batch().envelopes_size());
  }
  EXPECT_EQ(sequence, 1001u);
}

TEST(LinkMessageEncoderTest, GoesOnWithinARecordWhereItStopped) {
  std::string frames;
  for (uint64_t i = 1; i <= 100; ++i) frames += Frame(i, std::string(i, 'x'));
  Pieces pieces;
  pieces.Add(Header(RecordKind::kData, frames.size(), 5, 640)).Add(frames);
  LinkMessageEncoder encoder;
  std::string records;
  uint64_t expected = 1;
  uint64_t position = 640;
  size_t taken = 0;
  int messages = 0;
  while (taken < pieces.bytes().size()) {
    ByteSink message;
    encoder.Begin();
    taken += encoder.Encode(pieces.iovecs(taken), 500, &message);
    const v1::EnvelopeBatch batch = Parsed(TextOf(message)).items(0).batch();
    EXPECT_EQ(batch.sequence(), expected);
    EXPECT_EQ(batch.position(), position);
    expected += static_cast<uint64_t>(batch.envelopes_size());
    for (const v1::Envelope& envelope : batch.envelopes()) {
      position +=
          AlignedFrameBytes(sizeof(FrameHeader) + envelope.payload().size());
    }
    ++messages;
  }
  EXPECT_EQ(expected, 101u);
  EXPECT_GT(messages, 10);
}

TEST(LinkMessageEncoderTest, OnlyLargePayloadsOfAPieceWithAKeeperAreKept) {
  const std::string large(LinkMessageEncoder::kKeptBytesMin, 'l');
  const std::string small(LinkMessageEncoder::kKeptBytesMin - 1, 's');
  const std::string frames =
      Frame(1, large) + Frame(2, small) + Frame(3, large);
  Pieces pieces;
  pieces.Add(Header(RecordKind::kData, frames.size(), 3, 64)).Add(frames);
  pieces.Add(Header(RecordKind::kData, frames.size(), 4, 64)).Add(frames);
  const std::vector<iovec> iovecs = pieces.iovecs();
  const auto keeper = std::make_shared<const int>();
  const std::vector<std::shared_ptr<const void>> keepers = {nullptr, keeper,
                                                            nullptr, nullptr};
  LinkMessageEncoder encoder;
  ByteSink copied;
  std::vector<KeptBytes> kept;
  EXPECT_EQ(encoder.Encode(iovecs, kFrameBytesMax, &copied, keepers, &kept),
            pieces.bytes().size());
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(keeper.use_count(), 4);
  EXPECT_EQ(kept[0].bytes.data(),
            static_cast<const char*>(iovecs[1].iov_base) + sizeof(FrameHeader));

  std::string message = TextOf(copied);
  for (size_t i = kept.size(); i-- > 0;) {
    message.insert(kept[i].at, kept[i].bytes.data(), kept[i].bytes.size());
  }
  EXPECT_EQ(message, Encoded(pieces));
}

TEST(LinkMessageEncoderTest, WhatIsKeptCountsForTheBound) {
  const std::string frames =
      Frame(1, std::string(10'000, 'x')) + Frame(2, std::string(10'000, 'y'));
  Pieces pieces;
  pieces.Add(Header(RecordKind::kData, frames.size(), 3, 64)).Add(frames);
  const std::vector<std::shared_ptr<const void>> keepers(
      2, std::make_shared<const int>());
  LinkMessageEncoder encoder;
  ByteSink copied;
  std::vector<KeptBytes> kept;
  EXPECT_EQ(encoder.Encode(pieces.iovecs(), 10'000, &copied, keepers, &kept),
            sizeof(RecordHeader) + frames.size() / 2);
  EXPECT_EQ(kept.size(), 1u);
}

TEST(LinkMessageEncoderTest, KeepsToTheBoundsOfOneMessage) {
  std::string frames;
  for (uint64_t i = 1; i <= 3; ++i) {
    frames += Frame(i, std::string(kEnvelopesBytesMax / 2, 'x'));
  }
  Pieces pieces;
  pieces.Add(Header(RecordKind::kData, frames.size())).Add(frames);
  LinkMessageEncoder encoder;
  ByteSink message;
  const size_t taken = encoder.Encode(pieces.iovecs(), 64 << 20, &message);
  EXPECT_EQ(Parsed(TextOf(message)).items(0).batch().envelopes_size(), 1);
  std::string records;
  EXPECT_TRUE(Decode(TextOf(message), &records).ok());
  ByteSink next;
  encoder.Begin();
  (void)encoder.Encode(pieces.iovecs(taken), 64 << 20, &next);
  EXPECT_EQ(Parsed(TextOf(next)).items(0).batch().envelopes_size(), 1);
}

TEST(LinkMessageDecoderTest, RecordsComeOutAsTheyWentIn) {
  v1::Control control;
  control.mutable_subscribe()->set_topic("t");
  std::string record;
  AppendControlRecord(control.SerializeAsString(), &record);
  const std::string acks = Ack(2, 1 << 20, 77);
  const std::string frames = Frame(4, "one") + Frame(5, "") +
                             Frame(9, std::string(300, 'z'), 123456789);
  Pieces pieces;
  pieces.Add(record)
      .Add(Header(RecordKind::kAck, acks.size()))
      .Add(acks)
      .Add(Header(RecordKind::kData, frames.size(), 2, 640))
      .Add(frames);
  const std::string message = Encoded(pieces);
  for (const int block_bytes : {-1, 1, 3, 50}) {
    std::string records;
    ASSERT_TRUE(Decode(message, &records, kFrameBytesMax, block_bytes).ok());
    EXPECT_EQ(records, pieces.bytes()) << block_bytes;
  }
}

TEST(LinkMessageDecoderTest, ReadsWhatProtocWrites) {
  std::string records;
  ASSERT_TRUE(Decode(OneEnvelope().SerializeAsString(), &records).ok());
  const std::string frame = Frame(9, "hello");
  EXPECT_EQ(records, Header(RecordKind::kData, frame.size(), 3, 4096) + frame);
}

TEST(LinkMessageDecoderTest, FieldsOfAnEnvelopeMayComeInAnyOrder) {
  // Payload, publish time, extension, the rest.
  v1::EnvelopeExtension extension;
  extension.set_reply_to("there");
  v1::Envelope parts[4];
  parts[0].set_payload("hello");
  parts[1].set_publish_time_unix_ns(5);
  *parts[2].mutable_extension() = extension;
  parts[3].set_publisher(7);
  parts[3].set_publisher_sequence(1);
  std::string disordered, ordered;
  v1::Envelope whole;
  for (const v1::Envelope& part : parts) {
    disordered += part.SerializeAsString();
    whole.MergeFrom(part);
  }
  ordered = whole.SerializeAsString();
  ASSERT_NE(disordered, ordered);
  const auto around = [](const std::string& envelope) {
    const auto nested = [](char tag, const std::string& body) {
      return std::string{tag, static_cast<char>(body.size())} + body;
    };
    return nested(kItemsTag,
                  nested(kBatchTag, nested(kEnvelopesTag, envelope)));
  };
  std::string expected, records;
  ASSERT_TRUE(Decode(around(ordered), &expected).ok());
  ASSERT_TRUE(Decode(around(disordered), &records).ok());
  EXPECT_EQ(records, expected);
  FrameHeader header;
  std::memcpy(&header, records.data() + sizeof(RecordHeader), sizeof header);
  EXPECT_EQ(header.extension_bytes,
            PaddedExtensionBytes(extension.ByteSizeLong()));
  EXPECT_EQ(records.substr(records.find("hello"), 5), "hello");
}

TEST(LinkMessageDecoderTest, UnknownFieldsAndItemsAreSkipped) {
  std::string message = OneEnvelope().SerializeAsString();
  std::string expected, records;
  ASSERT_TRUE(Decode(message, &expected).ok());
  message += std::string("\x0A\x03\x7A\x01x", 5);  // An item of another kind.
  message += std::string("\x72\x02yz", 4);         // Another field.
  ASSERT_TRUE(Decode(message, &records).ok());
  EXPECT_EQ(records, expected);
}

TEST(LinkMessageDecoderTest, EveryPrefixOfAMessageIsDataLossOrShorter) {
  v1::LinkMessage message = OneEnvelope("some payload");
  message.add_items()->mutable_ack()->set_received(300);
  const std::string bytes = message.SerializeAsString();
  std::string whole;
  ASSERT_TRUE(Decode(bytes, &whole).ok());
  int refused = 0;
  for (size_t size = 1; size < bytes.size(); ++size) {
    std::string records;
    const absl::Status status = Decode(bytes.substr(0, size), &records);
    if (status.ok()) {
      EXPECT_LT(records.size(), whole.size());
    } else {
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
      ++refused;
    }
  }
  EXPECT_GT(refused, 10);
}

TEST(LinkMessageDecoderTest, EnvelopeAtFrameBytesMaxIsTakenAndOneByteMoreNot) {
  std::string records;
  EXPECT_TRUE(
      Decode(OneEnvelope(std::string(1000 - 40, 'x')).SerializeAsString(),
             &records, 1000)
          .ok());
  EXPECT_EQ(Decode(OneEnvelope(std::string(1001 - 40, 'x')).SerializeAsString(),
                   &records, 1000)
                .code(),
            absl::StatusCode::kDataLoss);
}

TEST(LinkMessageDecoderTest, EnvelopesBeyondTheBoundOfAMessageAreDataLoss) {
  // An empty envelope has two bytes here and a whole line in a lane.
  v1::LinkMessage message;
  v1::EnvelopeBatch& batch = *message.add_items()->mutable_batch();
  for (size_t i = 0; i < kEnvelopesBytesMax / kFrameAlignment; ++i) {
    batch.add_envelopes();
  }
  std::string records;
  EXPECT_TRUE(Decode(message.SerializeAsString(), &records).ok());
  batch.add_envelopes();
  EXPECT_EQ(Decode(message.SerializeAsString(), &records).code(),
            absl::StatusCode::kDataLoss);
}

TEST(LinkMessageDecoderTest, ItemsBeyondTheBoundOfAMessageAreDataLoss) {
  v1::LinkMessage message;
  for (size_t i = 0; i < kItemsMax; ++i) message.add_items()->mutable_ack();
  std::string records;
  EXPECT_TRUE(Decode(message.SerializeAsString(), &records).ok());
  message.add_items();
  EXPECT_EQ(Decode(message.SerializeAsString(), &records).code(),
            absl::StatusCode::kDataLoss);
}

// No Protobuf library writes that. Each field takes two bytes here, and 24 or
// 48 as a record.
TEST(LinkMessageDecoderTest, EachFieldOfAnItemCountsAsAnItem) {
  for (const char tag : {'\x0A', '\x12', '\x1A'}) {
    std::string item;
    for (size_t i = 0; i < kItemsMax; ++i) item += {tag, '\0'};
    std::string records;
    const std::string length("\x80\x80\x01", 3);
    EXPECT_TRUE(Decode('\x0A' + length + item, &records).ok());
    item += {tag, '\0'};
    const std::string longer("\x82\x80\x01", 3);
    EXPECT_EQ(Decode('\x0A' + longer + item, &records).code(),
              absl::StatusCode::kDataLoss);
  }
}

TEST(LinkMessageDecoderTest, SequenceAfterTheEnvelopesIsDataLoss) {
  // The sequence would number them too late. No Protobuf library writes that.
  const std::string item("\x1A\x04\x22\x00\x18\x05", 6);
  std::string records;
  const std::string message = std::string("\x0A\x06", 2) + item;
  EXPECT_EQ(Decode(message, &records).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace mycelium
