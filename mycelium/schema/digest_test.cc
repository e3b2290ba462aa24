#include "mycelium/schema/digest.h"

#include <string>

#include "absl/hash/hash_testing.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "gtest/gtest.h"

namespace mycelium {
namespace {

// FIPS 180-2, appendix B.1.
constexpr char kAbcHex[] =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(DigestTest, OfAbcIsThePublishedSha256) {
  EXPECT_EQ(Digest::Of("abc").ToHex(), kAbcHex);
}

TEST(DigestTest, OfNothingIsThePublishedSha256) {
  EXPECT_EQ(Digest::Of("").ToHex(),
            "e3b0c44298fc1c149afbf4c8996fb924"
            "27ae41e4649b934ca495991b7852b855");
}

TEST(DigestTest, DefaultIsZeros) {
  EXPECT_EQ(Digest().ToHex(), std::string(64, '0'));
  EXPECT_EQ(Digest().prefix(), 0u);
}

TEST(DigestTest, PrefixIsTheFirstEightBytesLittleEndian) {
  EXPECT_EQ(Digest::Of("abc").prefix(), 0xeacf018fbf1678baull);
}

TEST(DigestTest, HexAndBytesComeBackAsTheyWent) {
  const Digest digest = Digest::Of("abc");
  EXPECT_EQ(Digest::FromHex(digest.ToHex()).value(), digest);
  EXPECT_EQ(Digest::FromBytes(digest.bytes()).value(), digest);
  EXPECT_EQ(Digest(digest.array()), digest);
  EXPECT_EQ(Digest::FromHex(absl::AsciiStrToUpper(kAbcHex)).value(), digest);
}

TEST(DigestTest, WrongSizesAreInvalid) {
  for (const size_t size : {0, 1, 31, 33, 64}) {
    EXPECT_EQ(Digest::FromBytes(std::string(size, 'a')).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  for (const size_t size : {0, 32, 63, 65}) {
    EXPECT_EQ(Digest::FromHex(std::string(size, 'a')).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(DigestTest, CharactersThatAreNotHexadecimalAreInvalid) {
  std::string hex = kAbcHex;
  hex[63] = 'g';
  EXPECT_EQ(Digest::FromHex(hex).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(DigestTest, EqualityOrderAndHashFollowTheBytes) {
  EXPECT_NE(Digest::Of("a"), Digest::Of("b"));
  EXPECT_LT(Digest(), Digest::Of("a"));
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {Digest(), Digest::Of("a"), Digest::Of("b")}));
}

}  // namespace
}  // namespace mycelium
