#ifndef MYCELIUM_TRANSPORT_LANE_LANE_MEMORY_H_
#define MYCELIUM_TRANSPORT_LANE_LANE_MEMORY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/mapping.h"
#include "mycelium/transport/lane/lane_positions.h"

namespace mycelium {

// Where a ring and its positions lie. Both stay at their addresses as long as
// the object lives.
class LaneMemory {
 public:
  virtual ~LaneMemory() = default;

  // The ring: zero at first; a power of two of bytes, page-aligned. For the
  // reader of another process's lane it is read-only memory.
  virtual absl::Span<std::byte> bytes() = 0;
  virtual LanePositions& positions() = 0;

  // Device and inode of the file that another process's ring lies in, however
  // often it is mapped. Zeros: there is no such file, or it is not known.
  virtual std::pair<uint64_t, uint64_t> ring_file() const { return {0, 0}; }
};

// Lane memory that another process can map too.
class SharedLaneMemory : public LaneMemory {
 public:
  // The descriptors of the ring and the positions, to be passed to that
  // process.
  // They stay open as long as the object lives; but RenewPositions() closes
  // that of the positions, and its number may soon be another file's.
  virtual std::array<int, 2> descriptors() const = 0;
  // While that is held, the positions' descriptor that there is now stays open.
  virtual std::shared_ptr<const void> positions_keeper() const = 0;

  // Replaces the positions by fresh ones, which the process that had the old
  // ones cannot reach, and which nobody sees before `fill` was given them. On
  // an error there is no descriptor of the fresh ones, and they may be seen
  // before that. If even this process gets no memory, the old ones stay.
  virtual absl::Status RenewPositions(
      absl::FunctionRef<void(LanePositions&)> fill) = 0;
};

// Lane memory of this process alone.
class PrivateLaneMemory final : public LaneMemory {
 public:
  static absl::StatusOr<std::shared_ptr<LaneMemory>> Create(
      Environment& environment, size_t bytes) {
    absl::StatusOr<Mapping> mapping = Mapping::Private(environment.sys, bytes);
    if (!mapping.ok()) return mapping.status();
    return std::make_shared<PrivateLaneMemory>(*std::move(mapping));
  }
  explicit PrivateLaneMemory(Mapping mapping) : mapping_(std::move(mapping)) {}

  absl::Span<std::byte> bytes() override { return mapping_.bytes(); }
  LanePositions& positions() override { return positions_; }

 private:
  const Mapping mapping_;
  LanePositions positions_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_LANE_MEMORY_H_
