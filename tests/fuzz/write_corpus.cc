// Writes seeds for the fuzz targets, made of what the product itself sends:
//
//   write_corpus DIRECTORY

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "mycelium/codec/frame_encoder.h"
#include "mycelium/transport/framed_link.h"
#include "mycelium/transport/handshake.h"
#include "mycelium/transport/lane/ring.h"
#include "proto/mycelium/v1/link.pb.h"
#include "tests/fuzz/fake_channel.h"
#include "tests/fuzz/input.h"

namespace mycelium::test {
namespace {

// The form in which the targets take a stream: choices, then pieces.
std::string InPieces(uint8_t choices, const std::string& stream,
                     size_t piece_bytes) {
  std::string input(1, static_cast<char>(choices));
  for (size_t at = 0; at < stream.size(); at += piece_bytes) {
    const std::string piece = stream.substr(at, piece_bytes);
    input += static_cast<char>(piece.size() - 1);
    input += piece;
  }
  return input;
}

class Corpus final {
 public:
  Corpus(const std::string& root, const std::string& target)
      : directory_(std::filesystem::path(root) / target) {
    std::filesystem::create_directories(directory_);
  }
  void Add(const std::string& name, const std::string& input) {
    std::ofstream(directory_ / name, std::ios::binary) << input;
    std::cout << (directory_ / name).string() << ": " << input.size()
              << " bytes\n";
  }

 private:
  std::filesystem::path directory_;
};

absl::Span<const std::byte> BytesOf(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

void WriteHandshakes(FuzzWorld& world, Corpus corpus) {
  v1::Hello hello;
  hello.set_protocol_version(kProtocolVersion);
  hello.set_node("them");
  hello.set_incarnation(2);
  hello.set_frame_bytes_max(2 << 20);
  hello.set_topology_digest(std::string(32, 't'));
  v1::ServiceInfo* const service = hello.add_services();
  service->set_name("feed");
  service->set_schema_digest(std::string(32, 's'));
  v1::LaneProgress* const lane = hello.add_resume();
  lane->set_lane(1);
  lane->set_received(4096);
  lane->set_handled(1024);
  const auto ignore = [](absl::StatusOr<Handshake::Established>) {};
  FakeWire dialling;
  const auto dialled =
      Handshake::Dial(world.loop(), std::make_unique<FakeChannel>(dialling),
                      hello, 1'000'000, ignore);
  for (const bool refuses : {false, true}) {
    FakeWire accepting;
    const auto accepted = Handshake::Accept(
        world.loop(), std::make_unique<FakeChannel>(accepting),
        [&](const v1::Hello&, v1::Hello* ours) -> std::optional<v1::Reject> {
          *ours = hello;
          if (!refuses) return std::nullopt;
          return MakeReject(v1::Reject::NODE_NAME_TAKEN, "somebody is them");
        },
        1'000'000, ignore);
    accepting.Deliver(BytesOf(dialling.sent()));
    world.RunPosted();
    corpus.Add(refuses ? "reject" : "hello_reply",
               InPieces(1, accepting.sent(), 256));
  }
  corpus.Add("hello", InPieces(0, dialling.sent(), 256));
  corpus.Add("hello_refused", InPieces(4, dialling.sent(), 256));
  corpus.Add("hello_in_small_pieces", InPieces(0, dialling.sent(), 7));
  corpus.Add("hello_cut", InPieces(2, dialling.sent().substr(0, 40), 16));
  v1::Hello observer;
  observer.set_observe(true);
  FakeWire observing;
  const auto asked =
      Handshake::Dial(world.loop(), std::make_unique<FakeChannel>(observing),
                      observer, 1'000'000, ignore);
  corpus.Add("observer", InPieces(0, observing.sent(), 256));
  corpus.Add("observer_that_listens", InPieces(1, observing.sent(), 256));
}

// Takes every frame that arrives.
class Taker final : public LinkHandler {
 public:
  void OnUp(Link&, const v1::Hello&, bool) override {}
  void OnDown(Link&, const absl::Status&) override {}
  void OnControl(Link&, const v1::Control&) override {}
  FrameOutcome OnFrame(Link&, uint32_t, const FrameView&, uint64_t) override {
    return FrameOutcome::kHandled;
  }
};

void Publish(Lane& lane, uint64_t sequence, size_t payload_bytes) {
  FrameFields fields;
  fields.digest_prefix = 0x1122334455667788;
  fields.publisher_sequence = sequence;
  fields.publisher_id = 1;
  if (sequence % 2 == 0) {
    fields.flags = kFramePublishTime;
    fields.publish_time_ns = 1'000;
    fields.extension = "extension";
  }
  if (lane.TryClaim(EncodedFrameBytes(fields, payload_bytes)) !=
      Lane::ClaimResult::kClaimed) {
    return;
  }
  const auto payload =
      EncodeFrame(fields, lane.next_sequence(), payload_bytes, lane.Room());
  std::fill(payload.begin(), payload.end(), std::byte{'p'});
  lane.Commit();
  lane.Ring();
}

// Two links, and the bytes that each sent to the other.
void WriteRecords(FuzzWorld& world, Corpus corpus) {
  Taker taker;
  const auto make = [&](const std::string& self, const std::string& peer,
                        uint64_t incarnation) {
    FramedLink::Options options;
    options.self = self;
    options.peer = peer;
    options.transport = "unix";
    options.incarnation = incarnation;
    options.frame_bytes_max = 2048;
    return std::make_unique<FramedLink>(world.environment(), world.loop(),
                                        options, taker);
  };
  const auto hello = [](const std::string& node, uint64_t incarnation) {
    v1::Hello hello;
    hello.set_node(node);
    hello.set_incarnation(incarnation);
    hello.set_frame_bytes_max(2048);
    return hello;
  };
  FakeWire theirs, ours;
  const auto them = make("them", "us", 2);
  const auto us = make("us", "them", 1);
  them->Attach(std::make_shared<FakeChannel>(theirs), hello("us", 1), 0);
  us->Attach(std::make_shared<FakeChannel>(ours), hello("them", 2), 0);
  Lane::Options lane_options;
  lane_options.capacity_bytes = 4096;
  const auto shared = *them->OpenLane(0, lane_options);
  const auto queued = *them->OpenLane(7, lane_options);
  const auto back = *us->OpenLane(0, lane_options);
  v1::Control control;
  control.mutable_subscribe()->set_subscription(1);
  control.mutable_subscribe()->set_topic("topic");
  them->SendControl(control);
  size_t to_us = 0, to_them = 0;
  const auto exchange = [&] {
    while (to_us < theirs.sent().size() || to_them < ours.sent().size()) {
      const std::string a = theirs.sent().substr(to_us);
      const std::string b = ours.sent().substr(to_them);
      to_us += a.size();
      to_them += b.size();
      ours.Deliver(BytesOf(a));
      theirs.Deliver(BytesOf(b));
      us->SendAcks();
      them->SendAcks();
      world.RunPosted();
    }
  };
  for (uint64_t i = 1; i <= 4; ++i) {
    Publish(*shared, i, 10 * i);
    Publish(*queued, i, 100 * i);
    Publish(*back, i, 100);
    exchange();
    if (i == 2) {
      corpus.Add("data", InPieces(0, theirs.sent(), 256));
      corpus.Add("data_taken_and_kept", InPieces(3, theirs.sent(), 100));
    }
  }
  // More than a lane holds, so that a frame wraps around.
  for (uint64_t i = 5; i <= 9; ++i) {
    Publish(*queued, i, 900);
    exchange();
  }
  corpus.Add("data_with_pad", InPieces(0, theirs.sent(), 256));
  // The peer's answers under `kPublishes`, to frames of 100 bytes in our lane
  // 0.
  corpus.Add("acknowledgements", InPieces(4, theirs.sent(), 100));
  corpus.Add("acknowledgements_then_back", InPieces(4 + 16, theirs.sent(), 50));
  them->CloseLane(*queued, 0);
  exchange();
  them->Flush();
  them->Part();
  us->Part();
  exchange();
  corpus.Add("goodbye", InPieces(8, theirs.sent(), 200));
}

std::string FrameOf(size_t payload_bytes, uint16_t flags) {
  FrameFields fields;
  fields.digest_prefix = 0x1122334455667788;
  fields.publisher_sequence = 3;
  fields.publisher_id = 1;
  fields.flags = flags;
  fields.publish_time_ns = 1'000;
  if (flags != 0) fields.extension = "extension";
  std::string frame(EncodedFrameBytes(fields, payload_bytes), 'p');
  EncodeFrame(
      fields, 5, payload_bytes,
      absl::MakeSpan(reinterpret_cast<std::byte*>(&frame[0]), frame.size()));
  const auto frame_bytes = static_cast<uint32_t>(frame.size());
  std::memcpy(&frame[0], &frame_bytes, sizeof frame_bytes);
  frame.resize(AlignedFrameBytes(frame.size()));
  return frame;
}

std::string FrameInput(uint8_t what, uint64_t word, const std::string& memory) {
  std::string input = {static_cast<char>(what),
                       static_cast<char>(kFrameFlagsOnWire)};
  input.append(reinterpret_cast<const char*>(&word), sizeof word);
  return input + memory;
}

void WriteFrames(Corpus corpus) {
  corpus.Add("frame", FrameInput(0, 4096, FrameOf(20, 0)));
  corpus.Add("frame_with_all", FrameInput(0, 4096, FrameOf(20, 4)));
  corpus.Add("frame_empty", FrameInput(0, 4096, FrameOf(0, 0)));
  std::string ring = FrameOf(20, 0) + FrameOf(100, 4) + FrameOf(3, 0);
  corpus.Add("ring_full", FrameInput(1, 0, ring));
  ring.resize(kRingBytesMin - 64, '\0');
  corpus.Add("ring", FrameInput(1, 0, ring));
  std::string to_the_end = FrameOf(1900, 0) + FrameOf(1900, 0);
  std::string pad(kRingBytesMin - to_the_end.size(), '\0');
  const auto pad_bytes = static_cast<uint32_t>(pad.size());
  const uint16_t pad_flag = kFramePad;
  std::memcpy(&pad[0], &pad_bytes, sizeof pad_bytes);
  std::memcpy(&pad[4], &pad_flag, sizeof pad_flag);
  corpus.Add("ring_with_pad", FrameInput(1, 0, to_the_end + pad));
  std::string lap(kRingBytesMin, '\0');
  const uint32_t lap_bytes = kRingBytesMin;
  std::memcpy(&lap[0], &lap_bytes, sizeof lap_bytes);
  std::memcpy(&lap[4], &pad_flag, sizeof pad_flag);
  corpus.Add("ring_of_one_pad", FrameInput(1, 0, lap));
  // Claims of 1000 bytes, which take 1024; the reader releases some of them.
  std::string claims;
  for (uint64_t i = 0; i < 12; ++i) {
    const uint64_t released = i * 1024, bytes = 960;
    const bool releases = i % 2 == 0;
    claims += static_cast<char>(2 + (releases ? 1 : 0));
    if (releases) {
      claims.append(reinterpret_cast<const char*>(&released), sizeof released);
    }
    claims.append(reinterpret_cast<const char*>(&bytes), sizeof bytes);
  }
  corpus.Add("claims", FrameInput(2, 0, claims));
}

// Steps that look, take, handle, sleep and drain, over memory of frames.
std::string RingInput(uint8_t choices, const std::string& memory) {
  const std::string steps("\x00\x09\x04\x01\x05\x09\x09\x06\x01\x04\x07\x09",
                          12);
  std::string input(1, static_cast<char>(choices));
  input += static_cast<char>(steps.size());
  std::string taken = steps;
  taken.resize(steps.size() * 9, '\x09');
  return input + taken + memory;
}

void WriteInboundRings(Corpus corpus) {
  std::string frames;
  for (uint64_t sequence = 1; sequence <= 40; ++sequence) {
    std::string frame =
        FrameOf(sequence * 37 % 1500, sequence % 2 == 0 ? 4 : 0);
    std::memcpy(&frame[8], &sequence, sizeof sequence);
    if (frames.size() + frame.size() > kRingBytesMin - kFrameAlignment) break;
    frames += frame;
  }
  std::string ring = frames;
  ring.resize(kRingBytesMin, '\0');
  corpus.Add("lossless", RingInput(0, ring));
  corpus.Add("lossless_copied", RingInput(2, ring));
  corpus.Add("lossy", RingInput(1, ring));
  corpus.Add("lossy_redelivered", RingInput(7, ring));
  corpus.Add("again_and_again", RingInput(0, frames.substr(0, 128)));
  corpus.Add("in_the_middle", RingInput(8, ring));
  std::string lent;
  for (uint64_t sequence = 1; sequence <= 3; ++sequence) {
    std::string frame = FrameOf(1000 + sequence, 0);
    const uint16_t flags = kFrameElsewhere;
    std::memcpy(&frame[offsetof(FrameHeader, flags)], &flags, sizeof flags);
    std::memcpy(&frame[8], &sequence, sizeof sequence);
    const LoanReference reference = {1, 0, sequence * 1000};
    std::memcpy(&frame[sizeof(FrameHeader)], &reference, sizeof reference);
    lent += frame;
  }
  lent.resize(kRingBytesMin, '\0');
  corpus.Add("lent", RingInput(0, lent));
  corpus.Add("lent_copied", RingInput(2, lent));
}

// The first byte says that the message stays in one piece.
void AddMessage(Corpus& corpus, const std::string& name,
                const v1::LinkMessage& message) {
  corpus.Add(name, std::string(1, '\0') + message.SerializeAsString());
}

void WriteLinkMessages(Corpus corpus) {
  v1::LinkMessage message;
  v1::Hello& hello = *message.add_items()->mutable_control()->mutable_hello();
  hello.set_protocol_version(kProtocolVersion);
  hello.set_node("node");
  hello.set_incarnation(1);
  AddMessage(corpus, "hello", message);
  v1::Ack& ack = *message.add_items()->mutable_ack();
  ack.set_lane(3);
  ack.set_received(4096);
  ack.set_handled(64);
  v1::EnvelopeBatch& batch = *message.add_items()->mutable_batch();
  batch.set_lane(3);
  batch.set_position(4096);
  batch.set_sequence(9);
  for (int i = 0; i < 3; ++i) {
    v1::Envelope& envelope = *batch.add_envelopes();
    envelope.set_publisher(1);
    envelope.set_publisher_sequence(10 + i);
    envelope.set_type_digest_prefix(0x1122334455667788);
    envelope.set_payload(std::string(20 * i, 'p'));
  }
  AddMessage(corpus, "all_kinds", message);
  batch.mutable_envelopes(1)->set_skipped(2);
  batch.mutable_envelopes(2)->set_publish_time_unix_ns(1'000);
  AddMessage(corpus, "lossy_with_times", message);
  batch.mutable_envelopes(0)->mutable_extension()->set_reply_to("there");
  AddMessage(corpus, "extension", message);
  v1::LinkMessage large;
  v1::Envelope& envelope = *large.add_items()->mutable_batch()->add_envelopes();
  envelope.set_payload(std::string(4000, 'p'));
  AddMessage(corpus, "large", large);
}

}  // namespace
}  // namespace mycelium::test

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: write_corpus DIRECTORY\n";
    return 2;
  }
  mycelium::test::FuzzWorld world;
  mycelium::test::WriteHandshakes(world, {argv[1], "handshake_fuzz"});
  mycelium::test::WriteRecords(world, {argv[1], "record_fuzz"});
  mycelium::test::WriteFrames({argv[1], "frame_fuzz"});
  mycelium::test::WriteInboundRings({argv[1], "inbound_ring_fuzz"});
  mycelium::test::WriteLinkMessages({argv[1], "link_message_fuzz"});
  return 0;
}
