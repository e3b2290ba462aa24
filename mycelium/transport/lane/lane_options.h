#ifndef MYCELIUM_TRANSPORT_LANE_LANE_OPTIONS_H_
#define MYCELIUM_TRANSPORT_LANE_LANE_OPTIONS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "mycelium/transport/lane/lane_memory.h"
#include "mycelium/transport/lane/loan_memory.h"
#include "mycelium/transport/lane/lossy_stage.h"

namespace mycelium {

class Lane;

// Told that frames were committed. The lane is not locked, but a publisher
// is: what is called from here must not publish or change routes.
class LaneDoorbell {
 public:
  virtual ~LaneDoorbell() = default;
  virtual void OnCommit(Lane& lane) = 0;

  // The reader of shared memory has stored what no reader stores, or a frame is
  // damaged where it lies: `what`. Called once for each reader, on the thread
  // that finds out, which may hold this lane and others; not after Discard().
  virtual void OnCorrupt(const Lane&, const std::string&) {}

  // Loans are published in that memory, which the reader has not been offered.
  // Called once for each memory; the lane may be locked.
  virtual void OnLoanMemory(const Lane&, const std::shared_ptr<LoanMemory>&) {}

  // Memory of loans may have ended with a publisher.
  virtual void OnLoansSettled(const Lane&) {}
};

// What a Lane is made of.
struct LaneOptions {
  std::string name;            // For messages: "feed -> brain (unix), lane 0".
  uint32_t id = 0;             // Names the lane on its link.
  size_t capacity_bytes = 0;   // Rounded up to a power of two.
  size_t frame_bytes_max = 0;  // At most half the capacity.

  // A lossy lane's rule, and the sink that is told of drops.
  std::optional<LossyStage::Options> lossy;
  std::shared_ptr<DropSink> drop_sink;
  // How many frames of a lossy lane a link may have on their way.
  size_t window = 0;
  // For a lane of a link: it begins as after Link::ParkLane().
  bool parked = false;

  // The memory of the ring that another process reads, or null. It has at least
  // MemoryBytes(). Every frame is stamped with `*control_count`, see
  // FramedLink.
  std::shared_ptr<SharedLaneMemory> shared;
  const std::atomic<uint32_t>* control_count = nullptr;
};

// What was published so far, pads included, and how often somebody waited for
// room in vain.
struct LanePublished {
  uint64_t frames = 0;
  uint64_t bytes = 0;
  uint64_t stalls = 0;
};

// The largest lane of a peer that is accepted: what lane_bytes may be set to.
inline constexpr size_t kLaneBytesMax = 1 << 30;

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_LANE_OPTIONS_H_
