#include "mycelium/transport/grpc/link_message_decoder.h"

#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/transport/grpc/link_message_format.h"
#include "mycelium/transport/grpc/wire_reader.h"
#include "mycelium/transport/record_reader.h"

namespace mycelium {
namespace {

RecordHeader HeaderOf(RecordKind kind, size_t body_bytes) {
  RecordHeader header = {};
  header.magic = kRecordMagic;
  header.kind = static_cast<uint8_t>(kind);
  header.body_bytes = static_cast<uint32_t>(body_bytes);
  return header;
}

// Reads one message. If a member returns false, it has set `error_`, or the
// bytes are no Protobuf.
class Reader final {
 public:
  Reader(WireReader& in, size_t frame_bytes_max, ByteSink* records)
      : in_(in), frame_bytes_max_(frame_bytes_max), records_(*records) {}

  absl::Status Read() {
    while (const uint32_t tag = in_.Tag()) {
      const bool read =
          tag == kItemsTag ? ReadNested([&] { return Item(); }) : in_.Skip(tag);
      if (!read) return Error();
    }
    return in_.IsAtEnd() ? absl::OkStatus() : Error();
  }

 private:
  absl::Status Error() const {
    if (!error_.ok()) return error_;
    return absl::DataLossError("a LinkMessage does not parse");
  }
  bool Fail(const std::string& what) {
    error_ = absl::DataLossError(what);
    return false;
  }

  // Reads a length, and with `read` what it spans.
  template <typename Read>
  bool ReadNested(Read read) {
    size_t bytes;
    if (!in_.Length(&bytes)) return false;
    const size_t outer = in_.EnterLimit(bytes);
    if (!read() || !in_.IsAtEnd()) return false;
    in_.LeaveLimit(outer);
    return true;
  }

  bool CountItem() {
    if (++items_ <= kItemsMax) return true;
    return Fail(
        absl::StrCat("a LinkMessage has more than ", kItemsMax, " items"));
  }

  bool Item() {
    if (!CountItem()) return false;
    // An item has one field. Each further one may become a record, too.
    bool is_first = true;
    while (const uint32_t tag = in_.Tag()) {
      if (!std::exchange(is_first, false) && !CountItem()) return false;
      const bool read = tag == kControlTag ? Control()
                        : tag == kAckTag   ? ReadNested([&] { return Ack(); })
                        : tag == kBatchTag ? ReadNested([&] { return Batch(); })
                                           : in_.Skip(tag);
      if (!read) return false;
    }
    return true;
  }

  bool Control() {
    size_t bytes;
    if (!in_.Length(&bytes)) return false;
    if (bytes > kControlBytesMax) {
      return Fail(absl::StrCat("a control message of ", bytes,
                               " bytes, at most ", kControlBytesMax));
    }
    const RecordHeader header = HeaderOf(RecordKind::kControl, bytes);
    records_.Append(&header, sizeof header);
    return in_.Raw(records_.Extend(bytes), bytes);
  }

  bool Ack() {
    AckEntry entry = {};
    while (const uint32_t tag = in_.Tag()) {
      const bool read = tag == kAckLaneTag       ? in_.Varint(&entry.lane)
                        : tag == kAckReceivedTag ? in_.Varint(&entry.received)
                        : tag == kAckHandledTag  ? in_.Varint(&entry.handled)
                                                 : in_.Skip(tag);
      if (!read) return false;
    }
    const RecordHeader header = HeaderOf(RecordKind::kAck, sizeof entry);
    records_.Append(&header, sizeof header);
    records_.Append(&entry, sizeof entry);
    return true;
  }

  bool Batch() {
    RecordHeader header = HeaderOf(RecordKind::kData, 0);
    uint64_t position = 0;
    const size_t start = records_.size();
    records_.Extend(sizeof header);
    sequence_ = 0;
    while (const uint32_t tag = in_.Tag()) {
      const bool numbers = records_.size() == start + sizeof header;
      if (!numbers && (tag == kBatchSequenceTag)) {
        return Fail("EnvelopeBatch.sequence follows its envelopes");
      }
      const bool read = tag == kBatchLaneTag       ? in_.Varint(&header.lane)
                        : tag == kBatchPositionTag ? in_.Varint(&position)
                        : tag == kBatchSequenceTag ? in_.Varint(&sequence_)
                        : tag == kEnvelopesTag
                            ? ReadNested([&] { return Envelope(); })
                            : in_.Skip(tag);
      if (!read) return false;
    }
    header.position = position;
    const size_t body = records_.size() - start - sizeof header;
    header.body_bytes = static_cast<uint32_t>(body);
    std::memcpy(records_.data() + start, &header, sizeof header);
    // A record without a body would tell nothing.
    if (body == 0) records_.Truncate(start);
    return true;
  }

  struct Fields {
    uint32_t publisher = 0;
    uint64_t publisher_sequence = 0;
    uint64_t digest_prefix = 0;
    uint64_t skipped = 0;
    uint64_t publish_time = 0;
    bool has_publish_time = false;
    std::string extension;
    size_t payload_at = 0;  // 0: none yet.
    size_t payload_bytes = 0;

    size_t before_payload() const {
      return (has_publish_time ? kPublishTimeBytes : 0) +
             PaddedExtensionBytes(extension.size());
    }
  };

  bool Envelope() {
    const size_t start = records_.size();
    Fields fields;
    records_.Extend(sizeof(FrameHeader));
    while (const uint32_t tag = in_.Tag()) {
      if (!EnvelopeField(tag, start, &fields)) return false;
    }
    const size_t before = fields.before_payload();
    if (fields.payload_at == 0) {
      records_.Extend(before);
    } else if (fields.payload_at != start + sizeof(FrameHeader) + before) {
      MovePayload(start + sizeof(FrameHeader) + before, &fields);
    }
    return Finish(start, fields);
  }

  bool EnvelopeField(uint32_t tag, size_t start, Fields* fields) {
    switch (tag) {
      case kPublisherTag:
        return in_.Varint(&fields->publisher);
      case kPublisherSequenceTag:
        return in_.Varint(&fields->publisher_sequence);
      case kDigestPrefixTag:
        return in_.Fixed64(&fields->digest_prefix);
      case kSkippedTag:
        return in_.Varint(&fields->skipped);
      case kPublishTimeTag:
        fields->has_publish_time = true;
        return in_.Fixed64(&fields->publish_time);
      case kExtensionTag: {
        size_t bytes;
        if (!in_.Length(&bytes)) return false;
        if (bytes > kExtensionBytesMax) {
          return Fail(absl::StrCat("an extension of ", bytes,
                                   " bytes, at most ", kExtensionBytesMax));
        }
        fields->extension.resize(bytes);
        return in_.Raw(fields->extension.data(), bytes);
      }
      case kPayloadTag:
        return Payload(start, fields);
      default:
        return in_.Skip(tag);
    }
  }

  // Puts the payload where it belongs, if the fields that go before it have
  // come before it. They have, if the fields are in order.
  bool Payload(size_t start, Fields* fields) {
    size_t bytes;
    if (!in_.Length(&bytes)) return false;
    if (bytes > frame_bytes_max_) {
      return Fail(absl::StrCat("a payload of ", bytes,
                               " bytes; frame_bytes_max is ",
                               frame_bytes_max_));
    }
    records_.Truncate(start + sizeof(FrameHeader));
    records_.Extend(fields->before_payload());
    fields->payload_at = records_.size();
    fields->payload_bytes = bytes;
    return in_.Raw(records_.Extend(bytes), bytes);
  }

  void MovePayload(size_t to, Fields* fields) {
    const size_t end = to + fields->payload_bytes;
    if (end > records_.size()) records_.Extend(end - records_.size());
    std::memmove(records_.data() + to, records_.data() + fields->payload_at,
                 fields->payload_bytes);
    records_.Truncate(end);
  }

  bool Finish(size_t start, const Fields& fields) {
    const size_t frame_bytes = records_.size() - start;
    const size_t aligned = AlignedFrameBytes(frame_bytes);
    if (frame_bytes > frame_bytes_max_) {
      return Fail(absl::StrCat("an envelope takes ", frame_bytes,
                               " bytes; frame_bytes_max is ",
                               frame_bytes_max_));
    }
    if (lane_bytes_ > 0 && lane_bytes_ + aligned > kEnvelopesBytesMax) {
      return Fail(
          absl::StrCat("the envelopes of one LinkMessage take more "
                       "than ",
                       kEnvelopesBytesMax, " bytes"));
    }
    lane_bytes_ += aligned;
    std::memset(records_.Extend(aligned - frame_bytes), 0,
                aligned - frame_bytes);
    sequence_ += fields.skipped;
    FrameHeader header = {};
    header.frame_bytes = static_cast<uint32_t>(frame_bytes);
    header.flags = fields.has_publish_time ? kFramePublishTime : 0;
    header.extension_bytes =
        static_cast<uint16_t>(PaddedExtensionBytes(fields.extension.size()));
    header.lane_sequence = sequence_++;
    header.digest_prefix = fields.digest_prefix;
    header.publisher_sequence = fields.publisher_sequence;
    header.publisher_id = fields.publisher;
    std::byte* at = records_.data() + start;
    std::memcpy(at, &header, sizeof header);
    at += sizeof header;
    if (fields.has_publish_time) {
      std::memcpy(at, &fields.publish_time, sizeof fields.publish_time);
      at += sizeof fields.publish_time;
    }
    if (!fields.extension.empty()) {
      std::memset(at, 0, header.extension_bytes);
      std::memcpy(at, fields.extension.data(), fields.extension.size());
    }
    return true;
  }

  WireReader& in_;
  const size_t frame_bytes_max_;
  ByteSink& records_;
  absl::Status error_;
  uint64_t sequence_ = 0;  // Of the next envelope of the batch.
  size_t items_ = 0;
  size_t lane_bytes_ = 0;  // Of all envelopes so far.
};

}  // namespace

absl::Status LinkMessageDecoder::Decode(
    google::protobuf::io::ZeroCopyInputStream& message, size_t bytes,
    ByteSink* records) const {
  if (bytes > frame_bytes_max_ + kLinkMessageRestBytesMax) {
    return absl::DataLossError(
        absl::StrCat("a LinkMessage of ", bytes, " bytes"));
  }
  WireReader in(message, bytes);
  return Reader(in, frame_bytes_max_, records).Read();
}

}  // namespace mycelium
