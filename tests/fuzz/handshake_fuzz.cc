// Arbitrary bytes as the first words of a peer, on either side.
//
// Input: one byte of choices, then pieces: each is its length less one, then
// its bytes.

#include <memory>
#include <optional>

#include "mycelium/transport/handshake.h"
#include "tests/fuzz/fake_channel.h"
#include "tests/fuzz/input.h"

namespace mycelium::test {
namespace {

constexpr uint8_t kDials = 1;
constexpr uint8_t kEnds = 2;
constexpr uint8_t kRefuses = 4;

void Run(FuzzWorld& world, FuzzInput input) {
  const uint8_t choices = input.TakeByte();
  FakeWire wire;
  int outcomes = 0;
  std::unique_ptr<Channel> channel;  // Once the peer has said Hello.
  const auto done = [&](absl::StatusOr<Handshake::Established> established) {
    ++outcomes;
    if (!established.ok()) return;
    channel = std::move(established->channel);
    if (established->peer.observe()) {
      Require(wire.sent().empty(), "an observer is not answered here");
    }
  };
  const auto decide = [&](const v1::Hello& peer,
                          v1::Hello* ours) -> std::optional<v1::Reject> {
    Touch(absl::MakeConstSpan(
        reinterpret_cast<const std::byte*>(peer.node().data()),
        peer.node().size()));
    ours->set_node("us");
    if ((choices & kRefuses) == 0) return std::nullopt;
    return MakeReject(v1::Reject::NOT_ALLOWED, "not you");
  };
  v1::Hello ours;
  ours.set_node("us");
  std::unique_ptr<Handshake> handshake =
      (choices & kDials) != 0
          ? Handshake::Dial(world.loop(), std::make_unique<FakeChannel>(wire),
                            ours,
                            /*deadline=*/1'000'000, done)
          : Handshake::Accept(world.loop(), std::make_unique<FakeChannel>(wire),
                              decide,
                              /*deadline=*/1'000'000, done);
  while (!input.empty() && outcomes == 0) {
    wire.Deliver(input.Take(size_t{input.TakeByte()} + 1));
    Require(wire.closed() || outcomes > 0 ||
                wire.unused_bytes() <= kHandshakeBytesMax + 1024,
            "a peer cannot make us keep more than a Hello");
    if ((choices & kEnds) != 0 && input.empty()) wire.End();
    world.RunPosted();
  }
  Require(outcomes <= 1, "the outcome is told once");
  handshake.reset();
  world.RunPosted();
  Require(outcomes <= 1, "nothing is told after the end");
}

}  // namespace
}  // namespace mycelium::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  static auto* const world = new mycelium::test::FuzzWorld;
  mycelium::test::Run(*world, mycelium::test::FuzzInput(bytes, count));
  return 0;
}
