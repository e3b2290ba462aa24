#ifndef MYCELIUM_TRANSPORT_SHM_GIVEN_MEMORY_H_
#define MYCELIUM_TRANSPORT_SHM_GIVEN_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <new>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "mycelium/transport/lane/lane_memory.h"

namespace mycelium::internal {

// A ring and its positions in memory that somebody else has brought.
class GivenMemory final : public LaneMemory {
 public:
  GivenMemory(absl::Span<std::byte> ring, LanePositions& positions)
      : ring_(ring), positions_(positions) {}

  absl::Span<std::byte> bytes() override { return ring_; }
  LanePositions& positions() override { return positions_; }

 private:
  const absl::Span<std::byte> ring_;
  LanePositions& positions_;
};

inline absl::Status CheckCapacity(size_t bytes, size_t bytes_max) {
  if (bytes >= kRingBytesMin && bytes <= bytes_max &&
      (bytes & (bytes - 1)) == 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("a ring of ", bytes, " bytes; a power of two from ",
                   kRingBytesMin, " to ", bytes_max, " is needed"));
}

inline absl::Status CheckPositions(absl::Span<const std::byte> positions,
                                   size_t bytes) {
  if (positions.size() >= bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "positions have ", positions.size(), " bytes; ", bytes, " are needed"));
}

inline absl::Status CheckAligned(const void* memory) {
  if (reinterpret_cast<uintptr_t>(memory) % alignof(LanePositions) == 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("memory is not aligned to 64 bytes");
}

}  // namespace mycelium::internal

#endif  // MYCELIUM_TRANSPORT_SHM_GIVEN_MEMORY_H_
