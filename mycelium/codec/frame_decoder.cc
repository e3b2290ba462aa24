#include "mycelium/codec/frame_decoder.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

// Others would not understand what a program with another alignment writes.
#if MYCELIUM_FRAME_ALIGNMENT != 64 && !defined(MYCELIUM_SHARED_WORD_HOOKS)
#error "MYCELIUM_FRAME_ALIGNMENT is for tests/model"
#endif

namespace mycelium {

static_assert(kFrameAlignment >= alignof(FrameHeader) &&
              (kFrameAlignment & (kFrameAlignment - 1)) == 0);

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
