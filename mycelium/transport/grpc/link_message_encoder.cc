#include "mycelium/transport/grpc/link_message_encoder.h"

#include <array>
#include <cstring>

#include "mycelium/transport/grpc/link_message_format.h"

namespace mycelium {
namespace {

constexpr size_t kVarintBytesMax = 10;
// Acknowledgements of every lane fit behind so many.
constexpr size_t kItemsEnough = kItemsMax / 2;
// Of an item and a batch: tags, lengths and numbers.
constexpr size_t kBatchHeaderBytesMax = 64;
constexpr size_t kEnvelopeHeaderBytesMax = 80;
// The envelopes of one batch.
constexpr size_t kBatchFramesMax = 128;

constexpr size_t VarintBytes(uint64_t value) {
  size_t bytes = 1;
  for (; value >= 0x80; value >>= 7) ++bytes;
  return bytes;
}

// Writes into memory that has room. All tags have one byte.
class Writer final {
 public:
  explicit Writer(char* to) : begin_(to), to_(to) {}

  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) *to_++ = static_cast<char>(value | 0x80);
    *to_++ = static_cast<char>(value);
  }
  void Field(uint32_t tag, uint64_t value) {
    if (value == 0) return;
    *to_++ = static_cast<char>(tag);
    Varint(value);
  }
  void Fixed64(uint32_t tag, uint64_t value) {
    *to_++ = static_cast<char>(tag);
    std::memcpy(to_, &value, sizeof value);
    to_ += sizeof value;
  }
  void Length(uint32_t tag, size_t bytes) {
    *to_++ = static_cast<char>(tag);
    Varint(bytes);
  }
  size_t bytes() const { return static_cast<size_t>(to_ - begin_); }

 private:
  char* const begin_;
  char* to_;
};

constexpr size_t FieldBytes(uint64_t value) {
  return value == 0 ? 0 : 1 + VarintBytes(value);
}

// The parts of a frame, which is read once.
struct FrameParts {
  FrameHeader header;
  uint64_t publish_time;  // If `header` says so.
  const char* payload;
  size_t payload_bytes;

  bool has_publish_time() const {
    return (header.flags & kFramePublishTime) != 0;
  }
};

// False: there is no frame.
bool ReadParts(absl::Span<const char> bytes, FrameParts* parts) {
  FrameHeader& header = parts->header;
  if (bytes.size() < sizeof header) return false;
  std::memcpy(&header, bytes.data(), sizeof header);
  // This version writes no extension.
  size_t before = sizeof header + header.extension_bytes;
  if (parts->has_publish_time()) before += kPublishTimeBytes;
  if (header.frame_bytes < before ||
      AlignedFrameBytes(header.frame_bytes) > bytes.size()) {
    return false;
  }
  if (parts->has_publish_time()) {
    std::memcpy(&parts->publish_time, bytes.data() + sizeof header,
                sizeof parts->publish_time);
  }
  parts->payload = bytes.data() + before;
  parts->payload_bytes = header.frame_bytes - before;
  return true;
}

size_t EnvelopeBytes(const FrameParts& parts, uint64_t skipped) {
  return FieldBytes(parts.header.publisher_id) +
         FieldBytes(parts.header.publisher_sequence) + 9 + FieldBytes(skipped) +
         (parts.has_publish_time() ? 9 : 0) + 1 +
         VarintBytes(parts.payload_bytes) + parts.payload_bytes;
}

// All of an envelope but the bytes of its payload.
void AppendEnvelopeHeader(const FrameParts& parts, uint64_t skipped,
                          ByteSink* message) {
  char header[kEnvelopeHeaderBytesMax];
  Writer writer(header);
  writer.Length(kEnvelopesTag, EnvelopeBytes(parts, skipped));
  writer.Field(kPublisherTag, parts.header.publisher_id);
  writer.Field(kPublisherSequenceTag, parts.header.publisher_sequence);
  writer.Fixed64(kDigestPrefixTag, parts.header.digest_prefix);
  writer.Field(kSkippedTag, skipped);
  if (parts.has_publish_time()) {
    writer.Fixed64(kPublishTimeTag, parts.publish_time);
  }
  writer.Length(kPayloadTag, parts.payload_bytes);
  message->Append(header, writer.bytes());
}

void AppendControl(const char* body, size_t bytes, ByteSink* message) {
  char header[2 * (1 + kVarintBytesMax)];
  Writer writer(header);
  writer.Length(kItemsTag, 1 + VarintBytes(bytes) + bytes);
  writer.Length(kControlTag, bytes);
  message->Append(header, writer.bytes());
  message->Append(body, bytes);
}

void AppendAcks(const char* body, size_t bytes, ByteSink* message) {
  for (; bytes >= sizeof(AckEntry);
       body += sizeof(AckEntry), bytes -= sizeof(AckEntry)) {
    AckEntry entry;
    std::memcpy(&entry, body, sizeof entry);
    const size_t ack_bytes = FieldBytes(entry.lane) +
                             FieldBytes(entry.received) +
                             FieldBytes(entry.handled);
    char item[kBatchHeaderBytesMax];
    Writer writer(item);
    writer.Length(kItemsTag, 1 + VarintBytes(ack_bytes) + ack_bytes);
    writer.Length(kAckTag, ack_bytes);
    writer.Field(kAckLaneTag, entry.lane);
    writer.Field(kAckReceivedTag, entry.received);
    writer.Field(kAckHandledTag, entry.handled);
    message->Append(item, writer.bytes());
  }
}

}  // namespace

size_t LinkMessageEncoder::Encode(absl::Span<const iovec> pieces,
                                  size_t bytes_max, ByteSink* message,
                                  Keepers keepers,
                                  std::vector<KeptBytes>* kept) {
  const std::shared_ptr<const void> no_keeper;
  size_t taken = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    absl::Span<const char> piece(static_cast<const char*>(pieces[i].iov_base),
                                 pieces[i].iov_len);
    while (!piece.empty()) {
      if (message->size() + kept_bytes_ >= bytes_max ||
          items_ >= kItemsEnough) {
        return taken;
      }
      if (body_left_ > 0) {
        const size_t frames =
            EncodeFrames(piece.subspan(0, body_left_), bytes_max, message,
                         keepers.empty() ? no_keeper : keepers[i], kept);
        if (frames == 0) return taken;  // Or it is broken.
        taken += frames;
        piece.remove_prefix(frames);
        continue;
      }
      RecordHeader header;
      std::memcpy(&header, piece.data(), sizeof header);
      piece.remove_prefix(sizeof header);
      taken += sizeof header;
      if (static_cast<RecordKind>(header.kind) == RecordKind::kData) {
        data_ = header;
        body_left_ = header.body_bytes;
        continue;
      }
      // The body of an acknowledgement is a piece of its own.
      if (piece.empty() && header.body_bytes > 0) {
        ++i;
        piece = absl::MakeConstSpan(
            static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len);
      }
      if (static_cast<RecordKind>(header.kind) == RecordKind::kControl) {
        AppendControl(piece.data(), header.body_bytes, message);
        ++items_;
      } else {
        items_ += header.body_bytes / sizeof(AckEntry);
        AppendAcks(piece.data(), header.body_bytes, message);
      }
      piece.remove_prefix(header.body_bytes);
      taken += header.body_bytes;
    }
  }
  return taken;
}

size_t LinkMessageEncoder::EncodeFrames(
    absl::Span<const char> body, size_t bytes_max, ByteSink* message,
    const std::shared_ptr<const void>& keeper, std::vector<KeptBytes>* kept) {
  // First the length of the batch, since it goes before the batch.
  std::array<FrameParts, kBatchFramesMax> frames;
  size_t count = 0;
  uint64_t sequence = 0;
  size_t taken = 0;
  size_t envelopes_bytes = 0;
  while (taken < body.size() && count < frames.size()) {
    FrameParts& parts = frames[count];
    if (!ReadParts(body.subspan(taken), &parts)) {
      is_broken_ = true;
      return 0;
    }
    if (count == 0) sequence = parts.header.lane_sequence;
    const size_t aligned = AlignedFrameBytes(parts.header.frame_bytes);
    if (lane_bytes_ > 0 && lane_bytes_ + aligned > kEnvelopesBytesMax) break;
    if (taken > 0 &&
        message->size() + kept_bytes_ + envelopes_bytes >= bytes_max) {
      break;
    }
    const size_t bytes =
        EnvelopeBytes(parts, parts.header.lane_sequence - sequence);
    sequence = parts.header.lane_sequence + 1;
    envelopes_bytes += 1 + VarintBytes(bytes) + bytes;
    taken += aligned;
    lane_bytes_ += aligned;
    ++count;
  }
  if (taken == 0) return 0;
  const uint64_t first = frames[0].header.lane_sequence;
  const size_t batch_bytes = FieldBytes(data_.lane) +
                             FieldBytes(data_.position) + FieldBytes(first) +
                             envelopes_bytes;
  char header[kBatchHeaderBytesMax];
  Writer writer(header);
  writer.Length(kItemsTag, 1 + VarintBytes(batch_bytes) + batch_bytes);
  writer.Length(kBatchTag, batch_bytes);
  writer.Field(kBatchLaneTag, data_.lane);
  writer.Field(kBatchPositionTag, data_.position);
  writer.Field(kBatchSequenceTag, first);
  message->Append(header, writer.bytes());
  sequence = first;
  for (const FrameParts& parts : absl::MakeConstSpan(frames.data(), count)) {
    AppendEnvelopeHeader(parts, parts.header.lane_sequence - sequence, message);
    if (keeper != nullptr && parts.payload_bytes >= kKeptBytesMin) {
      kept->push_back(
          {message->size(), {parts.payload, parts.payload_bytes}, keeper});
      kept_bytes_ += parts.payload_bytes;
    } else {
      message->Append(parts.payload, parts.payload_bytes);
    }
    sequence = parts.header.lane_sequence + 1;
  }
  ++items_;
  data_.position += taken;
  body_left_ -= taken;
  return taken;
}

}  // namespace mycelium
