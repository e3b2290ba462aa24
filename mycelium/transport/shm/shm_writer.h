#ifndef MYCELIUM_TRANSPORT_SHM_SHM_WRITER_H_
#define MYCELIUM_TRANSPORT_SHM_SHM_WRITER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "mycelium/base/sys.h"
#include "mycelium/transport/lane/lane_memory.h"
#include "mycelium/transport/lane/ring.h"

namespace mycelium {

// The writing end of a ring of messages in shared memory, for programs that
// want neither bus nor link: no handshake, no types, no doorbell, no second
// reader. Its twin is ShmReader. Layout: docs/shm_layout.md.
//
// Nothing here blocks. After Create() nothing allocates or enters the kernel,
// except to fill in error().
//
// The reader may be another process that means harm: what it stores is compared
// and never followed. The reader can make this end stop (error()), not
// misbehave.
//
// Thread safety: one thread at a time. In the child of a fork() the memory is
// not there: it may only ask for descriptors(), and destroy this, which there
// does nothing and leaves those open.
//
// There is no writer over given descriptors: the ring is sealed, so that nobody
// else can ever write there.
//
// Ownership: Create() owns the memory. CreateIn() borrows it. A reader that has
// mapped the ring keeps it when the writer has gone.
//
// Example:
//   auto writer = mycelium::ShmWriter::Create(1 << 20);
//   Pass(writer->descriptors());  // To the process that reads, by SCM_RIGHTS.
//   if (!writer->TryWrite(bytes)) ...  // Full: nothing was written.
class ShmWriter final {
 public:
  // Makes a ring in memory without a name, whose pages are reserved.
  //   INVALID_ARGUMENT    `capacity` is no power of two from 4 KiB to 1 GiB, or
  //                       the kernel is older than 5.1
  //   RESOURCE_EXHAUSTED  no memory, descriptors or addresses are left
  //   UNAVAILABLE         the kernel has no memfd_create()
  //   PERMISSION_DENIED   a sandbox refuses memfd_create()
  static absl::StatusOr<ShmWriter> Create(size_t capacity,
                                          Sys& sys = Sys::Real());

  // Makes a ring in given memory, which outlives this and which the reader maps
  // too. It is zeroed, and a power of two of bytes from 4 KiB to 1 GiB.
  // `positions` has kPositionsBytes, both are aligned to 64 bytes; the reader
  // needs to write to `positions` only. INVALID_ARGUMENT: sizes or alignment
  // are not as said.
  static absl::StatusOr<ShmWriter> CreateIn(absl::Span<std::byte> ring,
                                            absl::Span<std::byte> positions);

  static constexpr size_t kPositionsBytes = 4096;

  // Two writers would each overwrite what the other has written.
  ShmWriter(ShmWriter&&) = default;
  ShmWriter(const ShmWriter&) = delete;

  // What ShmReader::Open() takes, in another process: the ring's descriptor and
  // the positions'. They stay the writer's. {-1, -1} after CreateIn().
  std::array<int, 2> descriptors() const;

  // Writes a copy of the message. False: there is no room for it now, it is
  // larger than message_bytes_max(), or there is an error().
  bool TryWrite(absl::Span<const std::byte> message);

  // The same without the copy: returns room for a message, which the reader
  // sees after Commit(), or an empty span instead of false. `bytes` may not be
  // 0. The next claim makes this one void.
  absl::Span<std::byte> TryClaim(size_t bytes);
  void Commit();  // Without a claim it does nothing.

  // How many bytes of ring were ever used, and how many messages written.
  uint64_t position() const { return writer_.position(); }
  uint64_t sequence() const { return sequence_; }
  // How far the reader has come, as it says: a position.
  uint64_t released() const;

  size_t capacity() const { return writer_.capacity(); }  // Of the ring.
  // Half of that, less the header's 40 bytes.
  size_t message_bytes_max() const;

  // OK, or DATA_LOSS: the reader has stored what no reader stores. Found out
  // when there is no room; nothing is written from then on.
  const absl::Status& error() const { return error_; }

 private:
  ShmWriter(std::shared_ptr<LaneMemory> memory,
            std::shared_ptr<SharedLaneMemory> shared);

  bool CheckReleased();

  std::shared_ptr<LaneMemory> memory_;
  std::shared_ptr<SharedLaneMemory> shared_;  // Null after CreateIn().
  RingWriter writer_;
  absl::Span<std::byte> claimed_;
  uint64_t sequence_ = 0;
  uint64_t checked_released_ = 0;
  absl::Status error_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_SHM_SHM_WRITER_H_
