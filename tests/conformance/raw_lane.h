#ifndef TESTS_CONFORMANCE_RAW_LANE_H_
#define TESTS_CONFORMANCE_RAW_LANE_H_

#include <fcntl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/conformance/raw_peer.h"

namespace mycelium::test {

// A descriptor of anonymous memory, with those seals. The caller closes it.
int MakeMemory(size_t bytes, int seals);

// The two segments of a lane, as docs/shm_layout.md describes them, for a peer
// that may do anything with them. Shares no code with what it tests.
//
// Thread safety: none, but the words are atomic.
class RawLane final {
 public:
  static constexpr int kPositionsSeals =
      F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  static constexpr int kRingSeals = kPositionsSeals | 0x0010;  // FUTURE_WRITE
  static constexpr size_t kPositionsBytes = 4096;

  // Makes them, as an honest publisher does.
  RawLane(size_t ring_bytes, uint64_t identity);
  // Maps segments that another publisher has made; closes the descriptors.
  RawLane(const std::vector<int>& descriptors, size_t ring_bytes);
  RawLane(const RawLane&) = delete;
  RawLane& operator=(const RawLane&) = delete;
  ~RawLane();

  bool ok() const { return ring_ != nullptr && positions_ != nullptr; }
  const std::vector<int>& descriptors() const { return descriptors_; }
  std::byte* ring() { return ring_; }
  size_t ring_bytes() const { return ring_bytes_; }
  std::byte* positions() { return positions_; }

  std::atomic<uint64_t>& released() { return Word(0); }
  std::atomic<uint64_t>& next() { return Word(64); }
  std::atomic<uint64_t>& held() { return Word(128); }
  std::atomic<uint64_t>& sleeping() { return Word(192); }  // With 4 bytes of 0.
  std::atomic<uint64_t>& wake_at() { return Word(256); }
  std::atomic<uint64_t>& identity() { return Word(320); }
  std::atomic<uint64_t>& taken() { return Word(384); }
  std::atomic<uint64_t>& takes_barriers() { return Word(448); }  // Likewise.
  // Eight bytes of the ring.
  std::atomic<uint64_t>& RingWord(uint64_t position) {
    return *reinterpret_cast<std::atomic<uint64_t>*>(ring_ +
                                                     position % ring_bytes_);
  }

  // Writes a frame there and commits it, for a reader that has read `stamp`
  // control messages. Returns the position of the next frame.
  uint64_t Write(uint64_t position, const RawFrame& frame, uint32_t stamp);

  // Writes a pad from there to the end of the memory.
  void WritePad(uint64_t position, uint32_t pad_bytes);

 private:
  std::atomic<uint64_t>& Word(size_t at) {
    return *reinterpret_cast<std::atomic<uint64_t>*>(positions_ + at);
  }

  const size_t ring_bytes_;
  std::vector<int> descriptors_;
  std::byte* ring_ = nullptr;
  std::byte* positions_ = nullptr;
};

}  // namespace mycelium::test

#endif  // TESTS_CONFORMANCE_RAW_LANE_H_
