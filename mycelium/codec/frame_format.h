#ifndef MYCELIUM_CODEC_FRAME_FORMAT_H_
#define MYCELIUM_CODEC_FRAME_FORMAT_H_

#include <cstddef>
#include <cstdint>

namespace mycelium {

// The bytes of a frame and of the records that carry frames over a byte
// stream. docs/wire_format.md explains them: change one, change both, and bump
// kProtocolVersion. All integers are little-endian; so is every machine that
// Mycelium runs on, and frame_encoder.h refuses to compile elsewhere.

inline constexpr uint32_t kProtocolVersion = 2;

// Frames start at multiples of this, in a ring and within a record's body. It
// is a cache line, so that a header lies in one line and no line has parts of
// two frames: docs/adr/0043-a-frame-begins-with-a-cache-line.md. Only
// tests/model, which has small rings, defines it otherwise.
#ifndef MYCELIUM_FRAME_ALIGNMENT
#define MYCELIUM_FRAME_ALIGNMENT 64
#endif
inline constexpr size_t kFrameAlignment = MYCELIUM_FRAME_ALIGNMENT;

// An encoded envelope. In a ring, `frame_bytes` is the commit word: it is
// stored last, and a reader that finds 0 finds no frame yet.
struct FrameHeader {
  uint32_t frame_bytes;  // Of the whole frame, without what alignment adds.
  uint16_t flags;        // Of FrameFlag.
  uint16_t
      extension_bytes;  // Of a serialised EnvelopeExtension, without padding.
  uint64_t lane_sequence;       // 1, 2, 3, … in each lane; 0 in padding.
  uint64_t digest_prefix;       // First 8 bytes of the type's digest.
  uint64_t publisher_sequence;  // 1, 2, 3, … of the publisher.
  uint32_t publisher_id;        // As declared by PublisherDeclare.
  uint32_t lost_before;         // Used in rings; meaningless on the wire.
  // Then: publish time (8 bytes, if kFramePublishTime), the extension with
  // zeros up to a multiple of kExtensionAlignment, payload.
};
static_assert(sizeof(FrameHeader) == 40);
static_assert(offsetof(FrameHeader, frame_bytes) == 0);
static_assert(offsetof(FrameHeader, flags) == 4);
static_assert(offsetof(FrameHeader, extension_bytes) == 6);
static_assert(offsetof(FrameHeader, lane_sequence) == 8);
static_assert(offsetof(FrameHeader, digest_prefix) == 16);
static_assert(offsetof(FrameHeader, publisher_sequence) == 24);
static_assert(offsetof(FrameHeader, publisher_id) == 32);
static_assert(offsetof(FrameHeader, lost_before) == 36);

// The first fields of a FrameHeader, which are one word.
struct FrameStart {
  uint32_t frame_bytes;
  uint16_t flags;
  uint16_t extension_bytes;
};
static_assert(sizeof(FrameStart) == offsetof(FrameHeader, lane_sequence));

enum FrameFlag : uint16_t {
  // Fills the end of a ring. Only the header's first 8 bytes exist.
  kFramePad = 1 << 0,
  // The payload is a pointer of this process. Never leaves it.
  kFrameObject = 1 << 1,
  // Eight bytes of publish time follow the header: ns since the Unix epoch.
  kFramePublishTime = 1 << 2,
  // Another process may have handled it already. Never leaves this process.
  kFrameRedelivered = 1 << 3,
  // In place of the payload stands where its bytes are: an address in a ring of
  // this process, a LoanReference in a ring that another process reads. Never
  // sent.
  kFrameElsewhere = 1 << 4,
};
inline constexpr uint16_t kFrameFlagsOnWire = kFramePublishTime;
inline constexpr uint16_t kFrameFlagsInSharedRing =
    kFrameFlagsOnWire | kFrameElsewhere;

// What stands at the start of the payload of a frame with kFrameElsewhere, in a
// ring that another process reads. The frame is as long as if it had the
// payload, so that a lane bounds it like any other. The rest of it is
// undefined.
struct LoanReference {
  uint32_t memory;    // As LoanMemoryOpen says.
  uint32_t reserved;  // Zero.
  uint64_t offset;    // Where the payload begins in that memory.
};
static_assert(sizeof(LoanReference) == 16);
static_assert(offsetof(LoanReference, offset) == 8);

inline constexpr size_t kPublishTimeBytes = 8;
inline constexpr size_t kExtensionBytesMax = 32 * 1024;
inline constexpr size_t kExtensionAlignment = 8;

// How many bytes an extension of `bytes` takes in its frame.
constexpr size_t PaddedExtensionBytes(size_t bytes) {
  return (bytes + kExtensionAlignment - 1) & ~(kExtensionAlignment - 1);
}

// How many bytes a frame of `frame_bytes` takes in a ring or in a record's
// body.
constexpr size_t AlignedFrameBytes(size_t frame_bytes) {
  return (frame_bytes + kFrameAlignment - 1) & ~(kFrameAlignment - 1);
}

// Cuts a byte stream into bodies.
struct RecordHeader {
  uint16_t magic;       // kRecordMagic.
  uint8_t kind;         // Of RecordKind.
  uint8_t reserved;     // Zero.
  uint32_t lane;        // Of kData; else 0.
  uint64_t position;    // Of kData: the body's position in the lane; else 0.
  uint32_t body_bytes;  // What follows.
  uint32_t reserved2;   // Zero.
};
static_assert(sizeof(RecordHeader) == 24);
static_assert(offsetof(RecordHeader, kind) == 2);
static_assert(offsetof(RecordHeader, lane) == 4);
static_assert(offsetof(RecordHeader, position) == 8);
static_assert(offsetof(RecordHeader, body_bytes) == 16);

inline constexpr uint16_t kRecordMagic = 0x794D;  // "My" in memory.

enum class RecordKind : uint8_t {
  kControl = 1,  // A serialised mycelium.v1.Control.
  kData = 2,     // Whole frames of one lane, each aligned.
  kAck = 3,      // AckEntry, one or more.
};

// How far the receiver of a lane has come, as positions in that lane. Both only
// ever grow.
struct AckEntry {
  uint32_t lane;
  uint32_t reserved;  // Zero.
  uint64_t received;  // Grants credit; a resend starts here.
  uint64_t handled;   // Frees the sender's ring.
};
static_assert(sizeof(AckEntry) == 24);

}  // namespace mycelium

#endif  // MYCELIUM_CODEC_FRAME_FORMAT_H_
