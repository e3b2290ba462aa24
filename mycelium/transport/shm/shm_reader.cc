#include "mycelium/transport/shm/shm_reader.h"

#include <sys/stat.h>

#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/transport/lane/lane.h"
#include "mycelium/transport/shm/given_memory.h"
#include "mycelium/transport/shm/memfd_memory.h"

namespace mycelium {

ShmReader::ShmReader(std::shared_ptr<LaneMemory> memory)
    : memory_(std::move(memory)),
      reader_(std::make_unique<RingReader>(memory_->bytes(),
                                           memory_->positions().ring,
                                           /*flags_allowed=*/0)) {}

absl::StatusOr<ShmReader> ShmReader::Make(std::shared_ptr<LaneMemory> memory) {
  const uint64_t released =
      memory->positions().ring.released.load(std::memory_order_acquire);
  if (released % kFrameAlignment != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the last reader was at position ", released,
                     ", no multiple of ", kFrameAlignment));
  }
  ShmReader reader(std::move(memory));
  reader.reader_->StartAt(released);
  return reader;
}

absl::StatusOr<ShmReader> ShmReader::Open(Fd ring, Fd positions, Sys& sys) {
  struct stat found;
  const int64_t looked = sys.Fstat(ring.get(), &found);
  if (looked < 0) return ErrnoStatus(looked, "look at a descriptor");
  const auto bytes = static_cast<size_t>(found.st_size);
  if (absl::Status checked = internal::CheckCapacity(bytes, kLaneBytesMax);
      !checked.ok()) {
    return checked;
  }
  absl::StatusOr<std::shared_ptr<LaneMemory>> memory =
      MemfdMemory(sys).Map(std::move(ring), std::move(positions), bytes);
  if (!memory.ok()) return memory.status();
  return Make(*std::move(memory));
}

absl::StatusOr<ShmReader> ShmReader::OpenIn(absl::Span<const std::byte> ring,
                                            absl::Span<std::byte> positions) {
  for (const absl::Status& checked :
       {internal::CheckCapacity(ring.size(), kLaneBytesMax),
        internal::CheckPositions(positions, MemfdMemory::kPositionsBytes),
        internal::CheckAligned(ring.data()),
        internal::CheckAligned(positions.data())}) {
    if (!checked.ok()) return checked;
  }
  // A RingReader does not write to its ring.
  auto* const bytes = const_cast<std::byte*>(ring.data());
  return Make(std::make_shared<internal::GivenMemory>(
      absl::MakeSpan(bytes, ring.size()),
      *std::launder(reinterpret_cast<LanePositions*>(positions.data()))));
}

bool ShmReader::Poll(absl::Span<const std::byte>* message) {
  if (!error_.ok()) return false;
  FrameView frame;
  switch (reader_->Poll(&frame)) {
    case RingReader::Result::kEmpty:
      return false;
    case RingReader::Result::kCorrupt:
      error_ = absl::DataLossError(absl::StrCat(
          "shared ring: no message starts at position ", reader_->cursor(),
          "; expected message ", sequence_ + 1));
      return false;
    case RingReader::Result::kFrame:
      break;
  }
  const uint64_t sequence = frame.header.lane_sequence;
  if (sequence == 0 || (sequence_ != 0 && sequence != sequence_ + 1)) {
    // Behind a pad, if there was one.
    const uint64_t at =
        reader_->cursor() - AlignedFrameBytes(frame.header.frame_bytes);
    error_ = absl::DataLossError(absl::StrCat("shared ring: message ", sequence,
                                              " lies at position ", at,
                                              ", expected ", sequence_ + 1));
    reader_->StartAt(at);  // That is where it lies.
    return false;
  }
  sequence_ = sequence;
  *message = frame.payload;
  return true;
}

}  // namespace mycelium
