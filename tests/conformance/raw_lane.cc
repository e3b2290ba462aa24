#include "tests/conformance/raw_lane.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace mycelium::test {
namespace {

std::byte* MapAll(int descriptor, size_t bytes, int protection) {
  void* const mapped =
      mmap(nullptr, bytes, protection, MAP_SHARED, descriptor, 0);
  return mapped == MAP_FAILED ? nullptr : static_cast<std::byte*>(mapped);
}

}  // namespace

int MakeMemory(size_t bytes, int seals) {
  const int descriptor =
      memfd_create("raw-lane", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (ftruncate(descriptor, static_cast<off_t>(bytes)) != 0 ||
      (seals != 0 && fcntl(descriptor, F_ADD_SEALS, seals) != 0)) {
    close(descriptor);
    return -1;
  }
  return descriptor;
}

RawLane::RawLane(size_t ring_bytes, uint64_t identity)
    : ring_bytes_(ring_bytes),
      descriptors_({MakeMemory(ring_bytes, 0),
                    MakeMemory(kPositionsBytes, kPositionsSeals)}) {
  ring_ = MapAll(descriptors_[0], ring_bytes, PROT_READ | PROT_WRITE);
  (void)fcntl(descriptors_[0], F_ADD_SEALS, kRingSeals);
  positions_ = MapAll(descriptors_[1], kPositionsBytes, PROT_READ | PROT_WRITE);
  if (!ok()) return;
  held() = ~uint64_t{0};
  wake_at() = ~uint64_t{0};
  this->identity() = identity;
}

RawLane::RawLane(const std::vector<int>& descriptors, size_t ring_bytes)
    : ring_bytes_(ring_bytes), descriptors_(descriptors) {
  if (descriptors.size() != 2) return;
  ring_ = MapAll(descriptors[0], ring_bytes, PROT_READ);
  positions_ = MapAll(descriptors[1], kPositionsBytes, PROT_READ | PROT_WRITE);
}

RawLane::~RawLane() {
  if (ring_ != nullptr) munmap(ring_, ring_bytes_);
  if (positions_ != nullptr) munmap(positions_, kPositionsBytes);
  for (const int descriptor : descriptors_) close(descriptor);
}

uint64_t RawLane::Write(uint64_t position, const RawFrame& frame,
                        uint32_t stamp) {
  std::string bytes = BytesOf(frame);
  std::memcpy(&bytes[36], &stamp, sizeof stamp);
  const uint64_t next = position + bytes.size();
  std::byte* const at = ring_ + position % ring_bytes_;
  const size_t room = ring_bytes_ - position % ring_bytes_;
  std::memcpy(at + 4, &bytes[4], std::min(room, bytes.size()) - 4);
  if (bytes.size() <= room) {
    const uint32_t none = 0;
    std::memcpy(ring_ + next % ring_bytes_, &none, sizeof none);
  }
  uint32_t commit;
  std::memcpy(&commit, bytes.data(), sizeof commit);
  reinterpret_cast<std::atomic<uint32_t>*>(at)->store(commit);
  return next;
}

void RawLane::WritePad(uint64_t position, uint32_t pad_bytes) {
  const uint64_t word = pad_bytes | uint64_t{kFramePad} << 32;
  RingWord(position).store(word);
}

}  // namespace mycelium::test
