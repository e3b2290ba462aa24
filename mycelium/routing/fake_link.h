#ifndef MYCELIUM_ROUTING_FAKE_LINK_H_
#define MYCELIUM_ROUTING_FAKE_LINK_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "mycelium/base/environment.h"
#include "mycelium/transport/lane/fake_shared_memory.h"
#include "mycelium/transport/link.h"

namespace mycelium {

// A link that goes nowhere: it makes lanes and remembers what it was told.
//
// Thread safety: none.
class FakeLink final : public Link {
 public:
  struct Handled {
    uint32_t lane;
    uint64_t position;
  };

  explicit FakeLink(std::string peer) : peer_(std::move(peer)) {}

  const std::string& peer() const override { return peer_; }
  absl::string_view transport() const override { return "fake"; }
  absl::StatusOr<std::shared_ptr<Lane>> OpenLane(
      uint32_t subscription, Lane::Options options) override {
    if (!lane_error.ok()) return lane_error;
    if (subscription == 0 && shared_ != nullptr) return shared_;
    options.id = subscription == 0 ? 0 : next_lane_++;
    options.name = "fake lane";
    options.frame_bytes_max = frame_bytes_max_now;
    options.control_count = &control_count_;
    if (shares_lossy && options.lossy.has_value()) {
      options.shared =
          std::make_shared<test::FakeSharedMemory>(Lane::MemoryBytes(options));
    }
    const bool is_shared = options.shared != nullptr;
    const bool is_parked = options.parked;
    absl::StatusOr<std::unique_ptr<Lane>> lane =
        Lane::Create(Environment::Real(), std::move(options), nullptr);
    if (!lane.ok()) return lane.status();
    (*lane)->SetMapped(is_shared);
    lanes.push_back(*std::move(lane));
    if (is_parked) parked.insert(lanes.back()->id());
    if (subscription == 0) shared_ = lanes.back();
    return lanes.back();
  }
  void CloseLane(const Lane& lane, uint32_t) override {
    closed.push_back(lane.id());
  }
  void ParkLane(const Lane& lane) override { parked.insert(lane.id()); }
  void AdoptLane(const Lane& lane, uint32_t) override {
    adopted.push_back(lane.id());
    parked.erase(lane.id());
  }
  size_t frame_bytes_max() const override { return frame_bytes_max_now; }
  void DropLane(const Lane& lane) override {
    dropped.push_back(lane.id());
    parked.erase(lane.id());
    if (shared_.get() == &lane) shared_ = nullptr;
  }
  void SendControl(const v1::Control& control) override {
    sent.push_back(control);
  }
  uint64_t TakenOver(const Lane&) const override { return taken_over; }
  uint64_t NextSequence(uint32_t lane) const override {
    const auto known = next_sequences.find(lane);
    return known == next_sequences.end() ? 0 : known->second;
  }
  void NoteHandled(uint32_t lane, uint64_t position) override {
    handled.push_back({lane, position});
  }
  void Flush() override {}
  void Resume() override { ++resumes; }
  void ResumeLane(uint32_t lane) override { resumed.push_back(lane); }

  // The messages of that kind that were sent.
  std::vector<v1::Control> Sent(v1::Control::BodyCase body) const {
    std::vector<v1::Control> found;
    for (const v1::Control& control : sent) {
      if (control.body_case() == body) found.push_back(control);
    }
    return found;
  }

  size_t frame_bytes_max_now = 16 << 10;
  bool shares_lossy = false;  // Lossy lanes lie in shared memory, mapped.
  absl::Status lane_error;    // What OpenLane() returns, if it is not OK.
  std::vector<std::shared_ptr<Lane>> lanes;
  std::vector<uint32_t> closed, adopted, dropped, resumed;
  std::set<uint32_t> parked;  // Lanes that are parked now.
  std::vector<v1::Control> sent;
  std::vector<Handled> handled;
  uint64_t taken_over = 0;
  std::map<uint32_t, uint64_t> next_sequences;  // By lane.
  int resumes = 0;

 private:
  const std::string peer_;
  uint32_t next_lane_ = 1;
  std::atomic<uint32_t> control_count_{0};
  std::shared_ptr<Lane> shared_;  // Lane 0.
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_FAKE_LINK_H_
