#include "mycelium/transport/send_window.h"

#include <cstring>

#include "mycelium/codec/frame_format.h"

namespace mycelium {

absl::Span<const std::byte> FramesOfAtLeast(absl::Span<const std::byte> frames,
                                            uint64_t bytes_min) {
  if (frames.size() <= bytes_min) return frames;
  size_t bytes = 0;
  while (bytes < bytes_min) {
    FrameHeader header;
    std::memcpy(&header, frames.data() + bytes, sizeof header);
    bytes += AlignedFrameBytes(header.frame_bytes);
  }
  return frames.subspan(0, bytes);
}

}  // namespace mycelium
