#ifndef MYCELIUM_TRANSPORT_GRPC_LINK_MESSAGE_FORMAT_H_
#define MYCELIUM_TRANSPORT_GRPC_LINK_MESSAGE_FORMAT_H_

#include <cstddef>
#include <cstdint>

namespace mycelium {

// mycelium.v1.LinkMessage as bytes. Envelopes are written and read by hand,
// since each is then copied once and not twice, as by the generated classes;
// link_message_test.cc compares the two. All else is left to those classes.
// proto/mycelium/v1/link.proto explains the format: change one, change both.

// What the envelopes of one message may take in their lanes, if it has more
// than one.
inline constexpr size_t kEnvelopesBytesMax = 1 << 20;
// The items of one message.
inline constexpr size_t kItemsMax = 8192;
// The bytes that a message may have besides the largest envelope.
inline constexpr size_t kLinkMessageRestBytesMax = 2 << 20;

constexpr uint32_t VarintTag(uint32_t field) { return field << 3; }
constexpr uint32_t Fixed64Tag(uint32_t field) { return field << 3 | 1; }
constexpr uint32_t BytesTag(uint32_t field) { return field << 3 | 2; }

// Of LinkMessage.
inline constexpr uint32_t kItemsTag = BytesTag(1);
// Of LinkItem.
inline constexpr uint32_t kControlTag = BytesTag(1);
inline constexpr uint32_t kAckTag = BytesTag(2);
inline constexpr uint32_t kBatchTag = BytesTag(3);
// Of Ack.
inline constexpr uint32_t kAckLaneTag = VarintTag(1);
inline constexpr uint32_t kAckReceivedTag = VarintTag(2);
inline constexpr uint32_t kAckHandledTag = VarintTag(3);
// Of EnvelopeBatch.
inline constexpr uint32_t kBatchLaneTag = VarintTag(1);
inline constexpr uint32_t kBatchPositionTag = VarintTag(2);
inline constexpr uint32_t kBatchSequenceTag = VarintTag(3);
inline constexpr uint32_t kEnvelopesTag = BytesTag(4);
// Of Envelope.
inline constexpr uint32_t kPublisherTag = VarintTag(1);
inline constexpr uint32_t kPublisherSequenceTag = VarintTag(2);
inline constexpr uint32_t kDigestPrefixTag = Fixed64Tag(3);
inline constexpr uint32_t kSkippedTag = VarintTag(4);
inline constexpr uint32_t kPublishTimeTag = Fixed64Tag(5);
inline constexpr uint32_t kExtensionTag = BytesTag(6);
inline constexpr uint32_t kPayloadTag = BytesTag(7);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_LINK_MESSAGE_FORMAT_H_
