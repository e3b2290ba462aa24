#ifndef MYCELIUM_TRANSPORT_SHM_MEMFD_MEMORY_H_
#define MYCELIUM_TRANSPORT_SHM_MEMFD_MEMORY_H_

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "mycelium/base/sys.h"
#include "mycelium/transport/shared_memory.h"

namespace mycelium {

// SharedMemory as Linux has it: sealed segments without a name.
class MemfdMemory final : public SharedMemory {
 public:
  // The size of the segment with a lane's positions.
  static constexpr size_t kPositionsBytes = 4096;

  // `sys` must outlive this and all that it makes.
  explicit MemfdMemory(Sys& sys) : sys_(sys) {}

  // The same, if the kernel has what is needed, which this tries out. If it has
  // not, links use the socket.
  static absl::StatusOr<std::unique_ptr<MemfdMemory>> Create(Sys& sys);

  absl::StatusOr<std::shared_ptr<SharedLaneMemory>> Create(
      size_t bytes) override;
  absl::StatusOr<std::shared_ptr<LaneMemory>> Map(Fd ring, Fd positions,
                                                  size_t bytes) override;

 private:
  Sys& sys_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_SHM_MEMFD_MEMORY_H_
