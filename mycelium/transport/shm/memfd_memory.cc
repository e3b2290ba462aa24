#include "mycelium/transport/shm/memfd_memory.h"

#include <array>
#include <new>
#include <utility>

#include "mycelium/base/heavy_barrier.h"
#include "mycelium/transport/shm/segment.h"

namespace mycelium {
namespace {

static_assert(sizeof(LanePositions) <= MemfdMemory::kPositionsBytes);

LanePositions& PositionsIn(absl::Span<std::byte> bytes) {
  return *std::launder(reinterpret_cast<LanePositions*>(bytes.data()));
}

// Of a lane that this process writes.
LanePositions& MakePositions(absl::Span<std::byte> bytes) {
  auto* const positions = new (bytes.data()) LanePositions;
  positions->takes_barriers.store(takes_shared_heavy_barriers() ? 1 : 0);
  return *positions;
}

class OwnLane final : public SharedLaneMemory {
 public:
  OwnLane(Segment ring, Segment positions)
      : ring_(std::move(ring)), positions_(std::move(positions)) {
    MakePositions(positions_.bytes());
  }

  absl::Span<std::byte> bytes() override { return ring_.bytes(); }
  LanePositions& positions() override {
    return PositionsIn(positions_.bytes());
  }
  std::array<int, 2> descriptors() const override {
    return {ring_.descriptor(), positions_.descriptor()};
  }
  std::shared_ptr<const void> positions_keeper() const override {
    return positions_.descriptor_keeper();
  }
  absl::Status RenewPositions(
      absl::FunctionRef<void(LanePositions&)> fill) override {
    return positions_.Renew(
        [&](absl::Span<std::byte> fresh) { fill(MakePositions(fresh)); });
  }

 private:
  const Segment ring_;
  Segment positions_;
};

class PeersLane final : public LaneMemory {
 public:
  PeersLane(Segment ring, Segment positions)
      : ring_(std::move(ring)), positions_(std::move(positions)) {}

  absl::Span<std::byte> bytes() override { return ring_.bytes(); }
  LanePositions& positions() override {
    return PositionsIn(positions_.bytes());
  }
  std::pair<uint64_t, uint64_t> ring_file() const override {
    return ring_.file();
  }

 private:
  const Segment ring_;
  const Segment positions_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<MemfdMemory>> MemfdMemory::Create(Sys& sys) {
  // What works once works later, or fails with a reason of its own.
  absl::StatusOr<Segment> probe =
      Segment::Create(sys, Segment::Kind::kRing, kRingBytesMin);
  if (!probe.ok()) return probe.status();
  return std::make_unique<MemfdMemory>(sys);
}

absl::StatusOr<std::shared_ptr<SharedLaneMemory>> MemfdMemory::Create(
    size_t bytes) {
  absl::StatusOr<Segment> ring =
      Segment::Create(sys_, Segment::Kind::kRing, bytes);
  if (!ring.ok()) return ring.status();
  absl::StatusOr<Segment> positions =
      Segment::Create(sys_, Segment::Kind::kPositions, kPositionsBytes);
  if (!positions.ok()) return positions.status();
  return std::make_shared<OwnLane>(*std::move(ring), *std::move(positions));
}

absl::StatusOr<std::shared_ptr<LaneMemory>> MemfdMemory::Map(Fd ring,
                                                             Fd positions,
                                                             size_t bytes) {
  absl::StatusOr<Segment> ring_segment =
      Segment::Map(sys_, Segment::Kind::kRing, std::move(ring), bytes);
  if (!ring_segment.ok()) return ring_segment.status();
  absl::StatusOr<Segment> positions_segment = Segment::Map(
      sys_, Segment::Kind::kPositions, std::move(positions), kPositionsBytes);
  if (!positions_segment.ok()) return positions_segment.status();
  return std::make_shared<PeersLane>(*std::move(ring_segment),
                                     *std::move(positions_segment));
}

}  // namespace mycelium
