#ifndef MYCELIUM_TRANSPORT_LANE_LOAN_MEMORY_H_
#define MYCELIUM_TRANSPORT_LANE_LOAN_MEMORY_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/types/span.h"
#include "mycelium/transport/lane/lane_memory.h"

namespace mycelium {

// Shared memory that several loans of one publisher lie in. A peer that maps it
// reads them where they were written: a frame in its lane says which memory and
// where (LoanReference), and has no bytes of its own.
//
// Thread safety: all members may be called from any thread.
class LoanMemory final {
 public:
  // `id`: unique in the node's incarnation. Of `memory` the positions are not
  // used.
  LoanMemory(uint32_t id, std::shared_ptr<SharedLaneMemory> memory)
      : id_(id), memory_(std::move(memory)) {}

  uint32_t id() const { return id_; }
  absl::Span<std::byte> bytes() const { return memory_->bytes(); }
  // To be passed to a peer; open as long as the object lives.
  std::array<int, 2> descriptors() const { return memory_->descriptors(); }

  // A process may be reading loans here that does not tell any more when it is
  // done: from here on no more loans are to be written where one has been.
  void Spoil() { spoiled_.store(true, std::memory_order_relaxed); }
  bool spoiled() const { return spoiled_.load(std::memory_order_relaxed); }

 private:
  const uint32_t id_;
  const std::shared_ptr<SharedLaneMemory> memory_;
  std::atomic<bool> spoiled_{false};
};

// Where a loan lies, if peers may map it.
struct LoanPlace {
  std::shared_ptr<LoanMemory> memory;
  uint64_t offset = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_LOAN_MEMORY_H_
