#ifndef MYCELIUM_TRANSPORT_HANDLES_ALL_H_
#define MYCELIUM_TRANSPORT_HANDLES_ALL_H_

#include "gtest/gtest.h"
#include "mycelium/transport/link.h"

namespace mycelium::test {

// The owner of a link that stays up, for tests: handles each frame at once.
class HandlesAll final : public LinkHandler {
 public:
  void OnUp(Link&, const v1::Hello&, bool) override {}
  void OnDown(Link&, const absl::Status& status) override {
    ADD_FAILURE() << status;
  }
  void OnControl(Link&, const v1::Control&) override {}
  FrameOutcome OnFrame(Link&, uint32_t, const FrameView&, uint64_t) override {
    return FrameOutcome::kHandled;
  }
};

}  // namespace mycelium::test

#endif  // MYCELIUM_TRANSPORT_HANDLES_ALL_H_
