#ifndef MYCELIUM_TRANSPORT_SHARED_MEMORY_H_
#define MYCELIUM_TRANSPORT_SHARED_MEMORY_H_

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "mycelium/base/fd.h"
#include "mycelium/transport/lane/lane_memory.h"

namespace mycelium {

// Makes memory for lanes that another process is to read, and maps what another
// process has made. This makes links of one host fast: a link that has it
// passes descriptors instead of frames.
//
// Thread safety: all members may be called from any thread.
class SharedMemory {
 public:
  virtual ~SharedMemory() = default;

  // A ring of `bytes`, a power of two of at least kRingBytesMin. Its pages are
  // reserved: RESOURCE_EXHAUSTED if there are not enough.
  virtual absl::StatusOr<std::shared_ptr<SharedLaneMemory>> Create(
      size_t bytes) = 0;

  // The memory that the descriptors of another process's lane stand for. The
  // ring can be read, not written. INVALID_ARGUMENT: they are not what Create()
  // makes, so what the other process does could hurt this one.
  virtual absl::StatusOr<std::shared_ptr<LaneMemory>> Map(Fd ring, Fd positions,
                                                          size_t bytes) = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_SHARED_MEMORY_H_
