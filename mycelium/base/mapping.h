#ifndef MYCELIUM_BASE_MAPPING_H_
#define MYCELIUM_BASE_MAPPING_H_

#include <cstddef>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "mycelium/base/sys.h"

namespace mycelium {

// Owns anonymous, zero-filled, page-aligned memory of this process. Pages that
// are never touched cost nothing.
class Mapping final {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : sys_(other.sys_), bytes_(std::exchange(other.bytes_, {})) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(sys_, other.sys_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Mapping();

  // RESOURCE_EXHAUSTED if the kernel refuses. `sys` must outlive the mapping.
  static absl::StatusOr<Mapping> Private(Sys& sys, size_t bytes);

  absl::Span<std::byte> bytes() const { return bytes_; }

 private:
  Sys* sys_ = nullptr;
  absl::Span<std::byte> bytes_;
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_MAPPING_H_
