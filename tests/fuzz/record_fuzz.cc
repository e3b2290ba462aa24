// Arbitrary bytes on a connection whose handshake is over.
//
// Input: one byte of choices, then pieces: each is its length less one, then
// its bytes.

#include <map>
#include <memory>
#include <vector>

#include "mycelium/codec/frame_encoder.h"
#include "mycelium/transport/framed_link.h"
#include "tests/fuzz/fake_channel.h"
#include "tests/fuzz/input.h"

namespace mycelium::test {
namespace {

constexpr uint8_t kTakes = 1;      // Frames are handled later.
constexpr uint8_t kPauses = 2;     // Every third frame is not wanted at once.
constexpr uint8_t kPublishes = 4;  // There is something to acknowledge.
constexpr uint8_t kLeaves = 8;     // We part in the middle.
constexpr uint8_t kReturns = 16;   // The same peer comes back after a loss.

constexpr size_t kLaneBytes = 4096;
constexpr size_t kFrameBytesMax = 2048;

// Checks the promises of a link to its owner.
class Owner final : public LinkHandler {
 public:
  explicit Owner(uint8_t choices) : choices_(choices) {}

  void OnUp(Link&, const v1::Hello&, bool) override {}
  void OnDown(Link&, const absl::Status& status) override {
    Require(!status.ok(), "a connection ends for a reason");
  }
  void OnControl(Link& link, const v1::Control& control) override {
    if (control.has_lane_closed()) {
      static_cast<FramedLink&>(link).CloseInbound(control.lane_closed().lane());
      last_.erase(control.lane_closed().lane());
    }
  }
  FrameOutcome OnFrame(Link& link, uint32_t lane, const FrameView& frame,
                       uint64_t end) override {
    Require(frame.payload.size() <= kFrameBytesMax, "frames are bounded");
    Touch(frame.payload);
    Touch(frame.extension);
    if ((choices_ & kPauses) != 0 && ++offered_ % 3 == 0) {
      link.Resume();
      return FrameOutcome::kNotNow;
    }
    const auto [last, is_first] = last_.try_emplace(lane);
    Require(is_first || frame.header.lane_sequence ==
                            last->second.sequence + 1 + frame.lost_before,
            "a lane's frames come once, in order, with none lost uncounted");
    Require(is_first || end > last->second.end, "positions grow");
    last->second = {frame.header.lane_sequence, end};
    if ((choices_ & kTakes) == 0) return FrameOutcome::kHandled;
    taken_.emplace_back(lane, end);
    return FrameOutcome::kTaken;
  }

  void HandleTaken(Link& link) {
    for (const auto& [lane, end] : taken_) link.NoteHandled(lane, end);
    taken_.clear();
  }

 private:
  struct Last {
    uint64_t sequence = 0;
    uint64_t end = 0;
  };
  const uint8_t choices_;
  int offered_ = 0;
  std::map<uint32_t, Last> last_;
  std::vector<std::pair<uint32_t, uint64_t>> taken_;
};

void Publish(Lane& lane) {
  FrameFields fields;
  const size_t frame_bytes = EncodedFrameBytes(fields, 100);
  if (lane.TryClaim(frame_bytes) != Lane::ClaimResult::kClaimed) return;
  const auto payload =
      EncodeFrame(fields, lane.next_sequence(), 100, lane.Room());
  std::fill(payload.begin(), payload.end(), std::byte{'p'});
  lane.Commit();
  lane.Ring();
}

void Run(FuzzWorld& world, FuzzInput input) {
  const uint8_t choices = input.TakeByte();
  Owner owner(choices);
  FramedLink::Options options;
  options.self = "us";
  options.peer = "them";
  options.transport = "unix";
  options.incarnation = 1;
  options.frame_bytes_max = kFrameBytesMax;
  auto link = std::make_unique<FramedLink>(world.environment(), world.loop(),
                                           options, owner);
  v1::Hello hello;
  hello.set_node("them");
  hello.set_incarnation(2);
  hello.set_resume_incarnation(1);
  hello.set_frame_bytes_max(kFrameBytesMax);
  std::vector<std::unique_ptr<FakeWire>> wires;
  const auto connect = [&] {
    wires.push_back(std::make_unique<FakeWire>());
    link->Attach(std::make_shared<FakeChannel>(*wires.back()), hello,
                 link->peer_incarnation());
  };
  connect();
  std::shared_ptr<Lane> lane;
  if ((choices & kPublishes) != 0) {
    Lane::Options lane_options;
    lane_options.capacity_bytes = kLaneBytes;
    lane = link->OpenLane(0, lane_options).value_or(nullptr);
  }
  bool returned = false;
  while (!input.empty()) {
    if (lane != nullptr) Publish(*lane);
    FakeWire& wire = *wires.back();
    wire.Deliver(input.Take(size_t{input.TakeByte()} + 1));
    world.RunPosted();
    wire.Offer();
    owner.HandleTaken(*link);
    if ((choices & kLeaves) != 0) link->Part();
    if (!link->is_up()) {
      if ((choices & kReturns) == 0 || returned) break;
      returned = true;
      connect();
    }
  }
  link.reset();
  world.RunPosted();
}

}  // namespace
}  // namespace mycelium::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  static auto* const world = new mycelium::test::FuzzWorld;
  mycelium::test::Run(*world, mycelium::test::FuzzInput(bytes, count));
  return 0;
}
