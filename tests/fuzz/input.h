#ifndef TESTS_FUZZ_INPUT_H_
#define TESTS_FUZZ_INPUT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "absl/types/span.h"

namespace mycelium::test {

// Takes a fuzzer's bytes from the front: first choices, then the rest.
//
// Ownership: borrows the bytes.
class FuzzInput final {
 public:
  FuzzInput(const uint8_t* bytes, size_t count) : left_(bytes, count) {}

  bool empty() const { return left_.empty(); }

  // Zero once nothing is left.
  uint8_t TakeByte() {
    if (left_.empty()) return 0;
    const uint8_t byte = left_.front();
    left_.remove_prefix(1);
    return byte;
  }

  uint64_t TakeWord() {
    uint64_t word = 0;
    const auto bytes = Take(sizeof word);
    if (!bytes.empty()) std::memcpy(&word, bytes.data(), bytes.size());
    return word;
  }

  // At most so many bytes.
  absl::Span<const std::byte> Take(size_t bytes_max) {
    const auto taken = left_.subspan(0, std::min(left_.size(), bytes_max));
    left_.remove_prefix(taken.size());
    return {reinterpret_cast<const std::byte*>(taken.data()), taken.size()};
  }

 private:
  absl::Span<const uint8_t> left_;
};

// A copy that ends where its memory ends, so that AddressSanitizer sees a read
// beyond it.
class TightCopy final {
 public:
  explicit TightCopy(absl::Span<const std::byte> bytes)
      : memory_(new std::byte[bytes.size()]), count_(bytes.size()) {
    if (!bytes.empty()) std::memcpy(memory_.get(), bytes.data(), bytes.size());
  }
  absl::Span<std::byte> bytes() { return {memory_.get(), count_}; }

 private:
  std::unique_ptr<std::byte[]> memory_;
  size_t count_;
};

// Reads every byte; all of them must be readable.
inline void Touch(absl::Span<const std::byte> bytes) {
  volatile uint8_t sum = 0;
  for (const std::byte byte : bytes) {
    sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(byte));
  }
}

// A law that holds whatever the bytes are.
inline void Require(bool holds, const char* law) {
  if (holds) return;
  std::fprintf(stderr, "broken law: %s\n", law);
  std::abort();
}

}  // namespace mycelium::test

#endif  // TESTS_FUZZ_INPUT_H_
