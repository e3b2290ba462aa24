#ifndef MYCELIUM_TRANSPORT_HANDLES_ALL_H_
#define MYCELIUM_TRANSPORT_HANDLES_ALL_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/transport/link.h"

namespace mycelium::test {

// The owner of a link that stays up, for tests: handles each frame at once, but
// for those of one lane, for which it has no memory.
class HandlesAll final : public LinkHandler {
 public:
  void OnUp(Link&, const v1::Hello&, bool) override {}
  void OnDown(Link&, const absl::Status& status) override {
    EXPECT_TRUE(goes_down) << status;
    told.push_back(status);
  }
  void OnLaneWaits(Link&, const absl::Status& status) override {
    told.push_back(status);
  }
  void OnControl(Link&, const v1::Control&) override {}
  FrameOutcome OnFrame(Link&, uint32_t lane, const FrameView&,
                       uint64_t) override {
    return lane == waiting_lane ? FrameOutcome::kLaneWaits
                                : FrameOutcome::kHandled;
  }

  std::optional<uint32_t> waiting_lane;
  bool goes_down = false;  // The connection may end.
  std::vector<absl::Status> told;
};

}  // namespace mycelium::test

#endif  // MYCELIUM_TRANSPORT_HANDLES_ALL_H_
