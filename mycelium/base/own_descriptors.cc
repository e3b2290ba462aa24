#include "mycelium/base/own_descriptors.h"

#include <unistd.h>

#include <atomic>

namespace mycelium {
namespace {

constexpr int64_t kBits = 64;

// One bit each. Relaxed: the owner of a descriptor sets and clears its bit.
std::atomic<uint64_t> words[kOwnDescriptorsMax / kBits];

bool IsRemembered(int64_t fd) { return fd >= 0 && fd < kOwnDescriptorsMax; }
uint64_t BitOf(int64_t fd) { return uint64_t{1} << (fd % kBits); }

}  // namespace

int64_t AddOwnDescriptor(int64_t fd) {
  if (IsRemembered(fd)) {
    words[fd / kBits].fetch_or(BitOf(fd), std::memory_order_relaxed);
  }
  return fd;
}

void RemoveOwnDescriptor(int64_t fd) {
  if (!IsRemembered(fd)) return;
  words[fd / kBits].fetch_and(~BitOf(fd), std::memory_order_relaxed);
}

void CloseOwnDescriptors() {
  for (int64_t fd = 0; fd < kOwnDescriptorsMax; fd += kBits) {
    uint64_t word = words[fd / kBits].exchange(0, std::memory_order_relaxed);
    for (int i = 0; word != 0; ++i, word >>= 1) {
      if ((word & 1) != 0) close(static_cast<int>(fd + i));
    }
  }
}

}  // namespace mycelium
