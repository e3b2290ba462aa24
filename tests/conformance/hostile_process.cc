// A process that says Hello and shares memory, and then writes random and
// adversarial values over everything that it can write:
//
//   hostile_process --path=SOCKET --role=publisher|subscriber --seed=N
//                   --lives=N --inline=SUBSCRIPTION
//
// Each life is a connection under a name of its own. The process scribbles over
// its memory until the other side ends the connection, or for some seconds. It
// prints how many lives the other side ended, and exits with 0 if most were.

#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tests/conformance/raw_lane.h"
#include "tests/conformance/raw_peer.h"
#include "tests/conformance/served_node.h"
#include "tests/support/comes.h"

namespace mycelium::test {
namespace {

constexpr size_t kRingBytes = 1 << 14;
constexpr uint64_t kIdentity = 99;

class Hostile final {
 public:
  Hostile(std::map<std::string, std::string> flags) : flags_(std::move(flags)) {
    uint64_t seed = 0;
    (void)absl::SimpleAtoi(flags_["seed"], &seed);
    random_.seed(seed);
  }

  int Run() {
    uint64_t lives = 0, ended = 0;
    (void)absl::SimpleAtoi(flags_["lives"], &lives);
    for (uint64_t life = 1; life <= lives; ++life) {
      const std::string name = absl::StrCat("scribbler-", flags_["role"], "-",
                                            flags_["seed"], "-", life);
      RawPeer peer(flags_["path"]);
      v1::Hello hello = HelloFrom(name);
      hello.set_shared_memory(true);
      if (!peer.SayHello(hello).has_hello()) return 1;
      const std::unique_ptr<RawLane> lane =
          flags_["role"] == "publisher" ? OpenLane(peer) : AwaitLane(peer);
      if (lane == nullptr || !lane->ok()) return 2;
      ended += Scribble(peer, *lane, flags_["role"] == "publisher") ? 1 : 0;
    }
    std::cout << ended << " of " << lives << " lives were ended\n";
    // Now and then the scribbled values may do no harm.
    return 4 * ended >= 3 * lives ? 0 : 3;
  }

 private:
  std::unique_ptr<RawLane> OpenLane(RawPeer& peer) {
    uint32_t subscription = 0;
    (void)absl::SimpleAtoi(flags_["inline"], &subscription);
    auto lane = std::make_unique<RawLane>(kRingBytes, kIdentity);
    peer.SendControl(DeclareOf(1));
    v1::Control open = LaneOpenOf(0, 0, kRingBytes);
    open.mutable_lane_open()->set_shared_identity(kIdentity);
    open.mutable_lane_open()->set_control_number(2);
    open.mutable_lane_open()->set_lossy_window(random_() % 2);
    if (!peer.SendWithDescriptors(ControlBytes(open), lane->descriptors())) {
      return nullptr;
    }
    peer.SendControl(MatchOf(1, subscription, 0));
    uint64_t position = 0;
    for (uint64_t sequence = 1; sequence <= 5; ++sequence) {
      position = lane->Write(position, NoteFrame(sequence), /*stamp=*/3);
    }
    // The other side must have mapped it, or nobody sees what follows.
    v1::Control doorbell;
    doorbell.mutable_doorbell();
    bool is_up = true;
    const bool is_mapped = Comes([&] {
      is_up = is_up && peer.SendControl(doorbell);
      return !is_up || lane->released() != 0 || lane->next() != 0;
    });
    return is_up && is_mapped ? std::move(lane) : nullptr;
  }

  std::unique_ptr<RawLane> AwaitLane(RawPeer& peer) {
    static constexpr const char* kOverflows[] = {"", "drop_oldest",
                                                 "drop_newest"};
    v1::Control subscribe = SubscribeOf(1);
    subscribe.mutable_subscribe()->set_delivery(v1::Subscribe::QUEUED);
    subscribe.mutable_subscribe()->set_overflow(kOverflows[random_() % 3]);
    subscribe.mutable_subscribe()->set_depth(4);
    peer.SendControl(subscribe);
    const auto open = peer.ReadUntilControl(v1::Control::kLaneOpen);
    if (!open.has_value()) return nullptr;
    return std::make_unique<RawLane>(
        peer.TakeDescriptors(), open->control.lane_open().capacity_bytes());
  }

  // Values that code often handles wrong.
  uint64_t Value() {
    static constexpr uint64_t kEdges[] = {
        0,          1,          7,          8,          39,
        40,         48,         63,         64,         kRingBytes - 64,
        kRingBytes, 0xFFFFFFFF, 0x80000000, 0x7FFFFFC0, ~uint64_t{0}};
    switch (random_() % 4) {
      case 0:
        return kEdges[random_() % std::size(kEdges)];
      case 1:
        return random_() % kRingBytes / kFrameAlignment * kFrameAlignment;
      case 2:
        return random_() % 128 | uint64_t{random_() % 32} << 32;
      default:
        return random_();
    }
  }

  // Whether the other side has ended the connection by the deadline.
  bool Scribble(RawPeer& peer, RawLane& lane, bool is_publisher) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    v1::Control doorbell;
    doorbell.mutable_doorbell();
    while (std::chrono::steady_clock::now() < end) {
      for (int i = 0; i < 64; ++i) {
        const uint64_t word = random_() % (RawLane::kPositionsBytes / 8);
        // Mostly words that have a meaning.
        const size_t at = random_() % 8 != 0 ? random_() % 7 * 64 : word * 8;
        const uint64_t value = Value();
        std::memcpy(lane.positions() + at, &value, sizeof value);
        if (is_publisher) {
          const uint64_t where = random_() % 2 == 0
                                     ? random_() % 512
                                     : random_() % lane.ring_bytes();
          const uint64_t unit = random_() % 2 == 0 ? kFrameAlignment : 8;
          lane.RingWord(where / unit * unit) = Value();
        }
      }
      if (!peer.SendControl(doorbell) || peer.ClosedWithin(0)) return true;
    }
    return false;
  }

  std::map<std::string, std::string> flags_;
  std::mt19937_64 random_;
};

int Main(int argc, char** argv) {
  std::map<std::string, std::string> flags;
  for (int i = 1; i < argc; ++i) {
    const std::pair<std::string, std::string> flag = absl::StrSplit(
        absl::StripPrefix(argv[i], "--"), absl::MaxSplits('=', 1));
    flags[flag.first] = flag.second;
  }
  return Hostile(std::move(flags)).Run();
}

}  // namespace
}  // namespace mycelium::test

int main(int argc, char** argv) { return mycelium::test::Main(argc, argv); }
