#ifndef MYCELIUM_TRANSPORT_HANDLES_ALL_H_
#define MYCELIUM_TRANSPORT_HANDLES_ALL_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/transport/link.h"

namespace mycelium::test {

// Notes the calls of a link in their order, a letter each: '(' and ')' around a
// row of frames, 'f' for a frame, '|' for an interruption.
class NotesCalls : public LinkHandler {
 public:
  void BeginFrames() override { calls += '('; }
  void InterruptFrames() override { calls += '|'; }
  void EndFrames() override { calls += ')'; }

  std::string calls;
};

// The owner of a link that stays up, for tests. It handles each frame at once,
// except those of `waiting_lane`, for which it has no memory, and those of
// `busy_lane`, which it cannot take now.
class HandlesAll final : public NotesCalls {
 public:
  void OnReplaced(Link& link) override {
    ++replaced;
    if (on_replaced != nullptr) on_replaced(link);
  }
  void OnUp(Link&, const v1::Hello&, bool) override {}
  void OnDown(Link&, const absl::Status& status) override {
    EXPECT_TRUE(goes_down) << status;
    told.push_back(status);
  }
  void OnDraining(Link&) override { ++draining; }
  void OnFallback(Link&, const absl::Status& status) override {
    told.push_back(status);
  }
  void OnLaneWaits(Link&, const absl::Status& status) override {
    told.push_back(status);
  }
  void OnControl(Link&, const v1::Control& control) override {
    controls.push_back(control.body_case());
    calls += 'c';
  }
  void OnLeftBehind(Link&, uint64_t messages) override {
    left_behind += messages;
  }
  FrameOutcome OnFrame(Link&, uint32_t lane, const FrameView& frame,
                       uint64_t) override {
    calls += 'f';
    if (lane == waiting_lane) return FrameOutcome::kLaneWaits;
    if (lane == busy_lane) return FrameOutcome::kNotNow;
    handled.push_back(frame.header.lane_sequence);
    return FrameOutcome::kHandled;
  }

  std::optional<uint32_t> waiting_lane;
  std::optional<uint32_t> busy_lane;
  std::vector<uint64_t> handled;  // Sequences.
  std::vector<v1::Control::BodyCase> controls;
  std::function<void(Link&)> on_replaced;
  int replaced = 0, draining = 0;  // How often.
  uint64_t left_behind = 0;
  bool goes_down = false;  // The connection may end.
  std::vector<absl::Status> told;
};

}  // namespace mycelium::test

#endif  // MYCELIUM_TRANSPORT_HANDLES_ALL_H_
