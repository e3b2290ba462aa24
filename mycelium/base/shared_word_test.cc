#include "mycelium/base/shared_word.h"

#include <cstddef>
#include <vector>

#include "gtest/gtest.h"

namespace mycelium {
namespace {

constexpr size_t kBytesMax = 200;
constexpr size_t kAround = 64;  // Bytes that a copy has no business with.
constexpr std::byte kUntouched{0xEE};

// Differs from byte to byte, and never is `kUntouched`.
std::vector<std::byte> SomeBytes(size_t bytes) {
  std::vector<std::byte> made(bytes);
  for (size_t i = 0; i < bytes; ++i) {
    made[i] = static_cast<std::byte>(i % 0xEE);
  }
  return made;
}

// Copies so many bytes into the middle of others, and says what those are then.
template <typename Copy>
std::vector<std::byte> CopiedIntoTheMiddle(const std::vector<std::byte>& from,
                                           Copy copy) {
  std::vector<std::byte> to(kAround + from.size() + kAround, kUntouched);
  copy(to.data() + kAround, from.data(), from.size());
  return to;
}

std::vector<std::byte> ExpectedAround(const std::vector<std::byte>& middle) {
  std::vector<std::byte> expected(kAround, kUntouched);
  expected.insert(expected.end(), middle.begin(), middle.end());
  expected.insert(expected.end(), kAround, kUntouched);
  return expected;
}

TEST(SharedWordTest, InlineCopiesOfEachSizeAreWholeAndTouchNothingElse) {
  for (size_t bytes = 0; bytes <= kBytesMax; ++bytes) {
    // On the heap, so that a sanitizer sees who reads beyond them.
    const std::vector<std::byte> from = SomeBytes(bytes);
    const auto expected = ExpectedAround(from);
    EXPECT_EQ(CopiedIntoTheMiddle(from, CopyToSharedInline), expected) << bytes;
    EXPECT_EQ(CopiedIntoTheMiddle(from, CopyFromSharedInline), expected)
        << bytes;
  }
}

}  // namespace
}  // namespace mycelium
