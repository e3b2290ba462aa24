#include "mycelium/schema/digest.h"

#include <openssl/sha.h>

#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace mycelium {

static_assert(Digest::kBytes == SHA256_DIGEST_LENGTH, "a digest is a SHA-256");
static_assert(sizeof(Digest) == Digest::kBytes, "a digest is its bytes");

Digest Digest::Of(absl::string_view text) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         digest.bytes_.data());
  return digest;
}

absl::StatusOr<Digest> Digest::FromBytes(absl::string_view bytes) {
  if (bytes.size() != kBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "schema digest of ", bytes.size(), " bytes, expected ", kBytes));
  }
  Digest digest;
  std::memcpy(digest.bytes_.data(), bytes.data(), kBytes);
  return digest;
}

absl::StatusOr<Digest> Digest::FromHex(absl::string_view hex) {
  if (hex.size() != 2 * kBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "schema digest of ", hex.size(), " digits, expected ", 2 * kBytes));
  }
  for (size_t i = 0; i < hex.size(); ++i) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(hex[i]))) {
      return absl::InvalidArgumentError(absl::StrCat(
          "schema digest: character ", i + 1, " is not a hexadecimal digit"));
    }
  }
  return FromBytes(absl::HexStringToBytes(hex));
}

std::string Digest::ToHex() const { return absl::BytesToHexString(bytes()); }

}  // namespace mycelium
