#ifndef MYCELIUM_SCHEMA_DIGEST_H_
#define MYCELIUM_SCHEMA_DIGEST_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mycelium {

// A SHA-256, as a value: 32 bytes that are equal or not. It stands for a
// message type or for a set of them; schema_digest.h computes both.
//
// A digest that was never set is all zeros. No text is known to hash to that,
// so zeros may mean "none".
//
// Thread safety: a plain value. Nothing blocks; only ToHex() allocates.
//
// Example:
//   const Digest ours(market_schema::kSchemaDigest);
//   if (ours != theirs) LogLine(ours.ToHex(), " is not ", theirs.ToHex());
class Digest final {
 public:
  static constexpr size_t kBytes = 32;

  // All zeros.
  constexpr Digest() : bytes_{} {}

  constexpr explicit Digest(const std::array<uint8_t, kBytes>& bytes)
      : bytes_(bytes) {}

  // The SHA-256 of `text`.
  static Digest Of(absl::string_view text);

  // INVALID_ARGUMENT unless `bytes` are exactly kBytes.
  static absl::StatusOr<Digest> FromBytes(absl::string_view bytes);

  // INVALID_ARGUMENT unless `hex` is exactly 64 hexadecimal digits, of either
  // case.
  static absl::StatusOr<Digest> FromHex(absl::string_view hex);

  // 64 lower-case hexadecimal digits, the first byte first.
  std::string ToHex() const;

  // The bytes themselves, for a wire field. Valid as long as this digest.
  absl::string_view bytes() const {
    return absl::string_view(reinterpret_cast<const char*>(bytes_.data()),
                             kBytes);
  }

  const std::array<uint8_t, kBytes>& array() const { return bytes_; }

  // Bytes 0 to 7 read as a little-endian number on every machine: enough to
  // notice a foreign message on the hot path, not enough to trust one.
  constexpr uint64_t prefix() const {
    // Written out, compilers see that it is one load.
    return uint64_t{bytes_[0]} | uint64_t{bytes_[1]} << 8 |
           uint64_t{bytes_[2]} << 16 | uint64_t{bytes_[3]} << 24 |
           uint64_t{bytes_[4]} << 32 | uint64_t{bytes_[5]} << 40 |
           uint64_t{bytes_[6]} << 48 | uint64_t{bytes_[7]} << 56;
  }

  friend bool operator==(const Digest& a, const Digest& b) {
    return a.bytes_ == b.bytes_;
  }
  friend bool operator!=(const Digest& a, const Digest& b) { return !(a == b); }
  friend bool operator<(const Digest& a, const Digest& b) {
    return a.bytes_ < b.bytes_;
  }

  template <typename H>
  friend H AbslHashValue(H state, const Digest& digest) {
    return H::combine(std::move(state), digest.bytes());
  }

 private:
  std::array<uint8_t, kBytes> bytes_;
};

}  // namespace mycelium

#endif  // MYCELIUM_SCHEMA_DIGEST_H_
