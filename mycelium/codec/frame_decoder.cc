#include "mycelium/codec/frame_decoder.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "mycelium/base/shared_word.h"

namespace mycelium {

FrameVerdict DecodeFrame(absl::Span<const std::byte> bytes,
                         size_t frame_bytes_max, uint16_t flags_allowed,
                         FrameView* view) {
  if (bytes.size() < sizeof(FrameHeader)) return FrameVerdict::kTruncated;
  FrameHeader& header = view->header;
  CopyFromShared(&header, bytes.data(), sizeof header);
  const size_t frame_bytes = header.frame_bytes;
  if (frame_bytes < sizeof header || frame_bytes > frame_bytes_max ||
      (header.flags & ~flags_allowed) != 0) {
    return FrameVerdict::kCorrupt;
  }
  const bool has_time = (header.flags & kFramePublishTime) != 0;
  const size_t before_payload = sizeof header +
                                (has_time ? kPublishTimeBytes : 0) +
                                AlignedFrameBytes(header.extension_bytes);
  if (before_payload > frame_bytes) return FrameVerdict::kCorrupt;
  if (frame_bytes > bytes.size()) return FrameVerdict::kTruncated;

  const std::byte* next = bytes.data() + sizeof header;
  view->publish_time_ns = 0;
  view->lost_before = header.lost_before;
  if (has_time) {
    CopyFromShared(&view->publish_time_ns, next, kPublishTimeBytes);
    next += kPublishTimeBytes;
  }
  view->extension = absl::MakeConstSpan(next, header.extension_bytes);
  view->payload = bytes.subspan(before_payload, frame_bytes - before_payload);
  return FrameVerdict::kOk;
}

absl::Status DescribeCorruptFrame(absl::Span<const std::byte> bytes,
                                  size_t frame_bytes_max) {
  FrameHeader header = {};
  std::memcpy(&header, bytes.data(), std::min(bytes.size(), sizeof header));
  return absl::DataLossError(absl::StrCat(
      "frame header announces ", header.frame_bytes, " bytes (allowed ",
      sizeof header, " to ", frame_bytes_max, "), flags ", header.flags,
      ", extension of ", header.extension_bytes, " bytes, sequence ",
      header.lane_sequence));
}

}  // namespace mycelium
