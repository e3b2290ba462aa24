// Arbitrary bytes where a frame, a ring of frames, or a ring's positions are
// expected.
//
// Input: two bytes of choices, a word, then the memory.

#include <algorithm>
#include <cstring>

#include "mycelium/codec/frame_decoder.h"
#include "mycelium/transport/lane/ring.h"
#include "mycelium/transport/lane/ring_frames.h"
#include "tests/fuzz/input.h"

namespace mycelium::test {
namespace {

constexpr size_t kFramesMax = 1000;

bool LiesIn(absl::Span<const std::byte> part,
            absl::Span<const std::byte> whole) {
  return part.empty() ||
         (part.data() >= whole.data() &&
          part.data() + part.size() <= whole.data() + whole.size());
}

void DecodeOne(absl::Span<const std::byte> bytes, size_t frame_bytes_max,
               uint16_t flags_allowed) {
  FrameView view;
  switch (DecodeFrame(bytes, frame_bytes_max, flags_allowed, &view)) {
    case FrameVerdict::kOk:
      Require(view.header.frame_bytes <= frame_bytes_max, "frames are bounded");
      Require((view.header.flags & ~flags_allowed) == 0, "flags are allowed");
      Require(LiesIn(view.payload, bytes), "the payload lies in the bytes");
      Require(LiesIn(view.extension, bytes), "the extension does");
      Touch(view.payload);
      Touch(view.extension);
      break;
    case FrameVerdict::kTruncated:
      break;
    case FrameVerdict::kCorrupt:
      Require(!DescribeCorruptFrame(bytes, frame_bytes_max).ok(),
              "what is corrupt is described as such");
      break;
  }
}

// Plays the reader of memory that another process writes.
void ReadRing(absl::Span<const std::byte> bytes, uint16_t flags_allowed) {
  RingMemory ring(kRingBytesMin);
  const absl::Span<std::byte> memory = ring.bytes();
  // Repeats the bytes, so that few of them fill the memory.
  for (size_t at = 0; !bytes.empty() && at < memory.size();) {
    const size_t count = std::min(bytes.size(), memory.size() - at);
    std::memcpy(&memory[at], bytes.data(), count);
    at += count;
  }
  RingPositions positions;
  RingReader reader(memory, positions, flags_allowed);
  for (size_t i = 0; i < kFramesMax; ++i) {
    const uint64_t before = reader.cursor();
    FrameView view;
    if (reader.Poll(&view) != RingReader::Result::kFrame) break;
    Require(reader.cursor() > before, "the cursor moves on");
    Require(LiesIn(view.payload, memory), "the payload lies in the ring");
    Touch(view.payload);
    Touch(view.extension);
    if (i % 3 == 0) reader.Release();
  }
}

// Plays the writer of memory whose reader says how far it has read.
void WriteRing(FuzzInput input) {
  RingMemory ring(kRingBytesMin);
  const absl::Span<std::byte> memory = ring.bytes();
  RingPositions positions;
  RingWriter writer(memory, positions);
  while (!input.empty()) {
    const uint8_t choice = input.TakeByte();
    if ((choice & 1) != 0) positions.released.store(input.TakeWord());
    const size_t frame_bytes =
        sizeof(FrameHeader) +
        input.TakeWord() % (writer.frame_bytes_max() - sizeof(FrameHeader) + 1);
    const absl::Span<std::byte> room = writer.TryClaim(frame_bytes);
    if (room.empty()) continue;
    Require(room.size() == frame_bytes && LiesIn(room, memory),
            "room lies in the ring");
    std::fill(room.begin(), room.end(), std::byte{1});
    if ((choice & 2) != 0) writer.Commit();
  }
}

void Run(FuzzInput input) {
  const uint8_t what = input.TakeByte();
  const uint16_t flags_allowed = input.TakeByte();
  const uint64_t word = input.TakeWord();
  if (what % 3 == 2) {
    WriteRing(input);
    return;
  }
  TightCopy bytes(input.Take(1 << 16));
  if (what % 3 == 1) {
    ReadRing(bytes.bytes(), flags_allowed);
  } else {
    DecodeOne(bytes.bytes(), word % (1 << 16), flags_allowed);
  }
}

}  // namespace
}  // namespace mycelium::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  mycelium::test::Run(mycelium::test::FuzzInput(bytes, count));
  return 0;
}
