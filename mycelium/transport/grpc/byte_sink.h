#ifndef MYCELIUM_TRANSPORT_GRPC_BYTE_SINK_H_
#define MYCELIUM_TRANSPORT_GRPC_BYTE_SINK_H_

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/types/span.h"

namespace mycelium {

// Bytes that grow at the end, and are not zeroed before they are written:
// a payload is touched once.
//
// Thread safety: none.
class ByteSink final {
 public:
  ByteSink() = default;
  ByteSink(ByteSink&& other) noexcept { Swap(other); }
  ByteSink& operator=(ByteSink&& other) noexcept {
    Swap(other);
    return *this;
  }

  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  bool empty() const { return size_ == 0; }
  std::byte* data() { return bytes_.get(); }
  const std::byte* data() const { return bytes_.get(); }
  absl::Span<const std::byte> span() const { return {bytes_.get(), size_}; }

  // Room for `bytes` more; what it holds is undefined. Valid until the next
  // call.
  std::byte* Extend(size_t bytes) {
    if (bytes > capacity_ - size_) Grow(size_ + bytes);
    size_ += bytes;
    return bytes_.get() + size_ - bytes;
  }
  void Append(const void* from, size_t bytes) {
    if (bytes > 0) std::memcpy(Extend(bytes), from, bytes);
  }
  // REQUIRES: `size` <= size().
  void Truncate(size_t size) { size_ = size; }

 private:
  void Grow(size_t least) {
    const size_t capacity = std::max({least, 2 * capacity_, size_t{4096}});
    std::unique_ptr<std::byte[]> bytes(new std::byte[capacity]);
    if (size_ > 0) std::memcpy(bytes.get(), bytes_.get(), size_);
    bytes_ = std::move(bytes);
    capacity_ = capacity;
  }
  void Swap(ByteSink& other) {
    std::swap(bytes_, other.bytes_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

  std::unique_ptr<std::byte[]> bytes_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_BYTE_SINK_H_
