#ifndef MYCELIUM_CODEC_FRAME_DECODER_H_
#define MYCELIUM_CODEC_FRAME_DECODER_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "mycelium/base/shared_word.h"
#include "mycelium/codec/frame_format.h"

namespace mycelium {

// A frame as its reader sees it. The spans point into the frame.
struct FrameView {
  FrameHeader header;
  int64_t publish_time_ns = 0;  // 0 if the frame has none.
  uint64_t lost_before = 0;     // Frames that were dropped before this one.
  absl::Span<const std::byte> extension;
  absl::Span<const std::byte> payload;
  // Not null: the payload stays where it lies until the frame is handled, and
  // exists as long as this is shared. The reader of such memory sets it.
  const std::shared_ptr<const void>* memory = nullptr;
};

// What a decoder makes of some bytes.
enum class FrameVerdict {
  kOk,
  kTruncated,  // The bytes end before the frame does.
  kCorrupt,    // They cannot be a frame of ours.
};

// Reads the frame at the start of `bytes`, which may hold more. Every field is
// copied before it is checked. So if the bytes change meanwhile, the view has
// wrong contents, but never points outside `bytes`.
// `flags_allowed`: of FrameFlag; a frame with any other flag is corrupt.
FrameVerdict DecodeFrame(absl::Span<const std::byte> bytes,
                         size_t frame_bytes_max, uint16_t flags_allowed,
                         FrameView* view);

// Says what is wrong with the header of a frame that DecodeFrame called
// corrupt.
absl::Status DescribeCorruptFrame(absl::Span<const std::byte> bytes,
                                  size_t frame_bytes_max);

// Inline, since every message passes here.

inline FrameVerdict DecodeFrame(absl::Span<const std::byte> bytes,
                                size_t frame_bytes_max, uint16_t flags_allowed,
                                FrameView* view) {
  if (bytes.size() < sizeof(FrameHeader)) return FrameVerdict::kTruncated;
  // What the rest depends on is looked at in registers: in the view it can be
  // read only some cycles after it was written.
  FrameStart start;
  CopyFromShared(&start, bytes.data(), sizeof start);
  FrameHeader& header = view->header;
  header.frame_bytes = start.frame_bytes;
  header.flags = start.flags;
  header.extension_bytes = start.extension_bytes;
  CopyFromShared(reinterpret_cast<std::byte*>(&header) + sizeof start,
                 bytes.data() + sizeof start, sizeof header - sizeof start);
  const size_t frame_bytes = start.frame_bytes;
  if (frame_bytes < sizeof header || frame_bytes > frame_bytes_max ||
      (start.flags & ~flags_allowed) != 0) {
    return FrameVerdict::kCorrupt;
  }
  view->lost_before = header.lost_before;
  const std::byte* next = bytes.data() + sizeof header;
  if ((start.flags | start.extension_bytes) == 0) {  // As most are.
    if (frame_bytes > bytes.size()) return FrameVerdict::kTruncated;
    view->publish_time_ns = 0;
    view->extension = absl::MakeConstSpan(next, 0);
    view->payload = absl::MakeConstSpan(next, frame_bytes - sizeof header);
    return FrameVerdict::kOk;
  }
  const bool has_time = (header.flags & kFramePublishTime) != 0;
  const size_t before_payload = sizeof header +
                                (has_time ? kPublishTimeBytes : 0) +
                                PaddedExtensionBytes(header.extension_bytes);
  if (before_payload > frame_bytes) return FrameVerdict::kCorrupt;
  if (frame_bytes > bytes.size()) return FrameVerdict::kTruncated;

  view->publish_time_ns = 0;
  if (has_time) {
    CopyFromShared(&view->publish_time_ns, next, kPublishTimeBytes);
    next += kPublishTimeBytes;
  }
  view->extension = absl::MakeConstSpan(next, header.extension_bytes);
  view->payload = bytes.subspan(before_payload, frame_bytes - before_payload);
  return FrameVerdict::kOk;
}

}  // namespace mycelium

#endif  // MYCELIUM_CODEC_FRAME_DECODER_H_
