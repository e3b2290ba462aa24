#ifndef MYCELIUM_TRANSPORT_SHM_SHM_READER_H_
#define MYCELIUM_TRANSPORT_SHM_SHM_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "mycelium/base/fd.h"
#include "mycelium/base/sys.h"
#include "mycelium/transport/lane/lane_memory.h"
#include "mycelium/transport/lane/ring.h"

namespace mycelium {

// The reading end of a ring of messages in shared memory. Its twin is
// ShmWriter, whose comment says what the two are for.
//
// A reader that opens the ring after another has died goes on behind what the
// dead one had released: what that one had polled but not released comes again.
// Two readers at once are a bug.
//
// The writer may be another process that means harm: each field is copied and
// then checked, so no access leaves the memory. The writer can make this end
// stop (error()), and change the bytes of a message while they are looked at.
//
// Nothing here blocks. After Open() nothing allocates or enters the kernel,
// except to fill in error().
//
// Thread safety: one thread at a time. In the child of a fork() the memory is
// not there: it may only destroy this, which there does nothing.
//
// Ownership: Open() owns the descriptors and the mapping. OpenIn() borrows the
// memory.
//
// Example:
//   absl::Span<const std::byte> message;
//   while (reader.Poll(&message)) {
//     Use(message);
//     reader.Release();
//   }
//   if (!reader.error().ok()) return reader.error();
class ShmReader final {
 public:
  // Opens the ring that a ShmWriter's descriptors() stand for, as that process
  // has passed them.
  //   INVALID_ARGUMENT    they are no such descriptors: other sizes, or not
  //                       sealed, so that the other process could hurt this
  //                       one; or what the last reader has released is no
  //                       multiple of 64. If that is wrong in another way,
  //                       Poll() or the writer finds out
  //   PERMISSION_DENIED   the positions are sealed against writing
  //   RESOURCE_EXHAUSTED  no addresses are left
  //   INTERNAL            `ring` is no descriptor at all; if `positions` is
  //                       none, that is INVALID_ARGUMENT, too
  static absl::StatusOr<ShmReader> Open(Fd ring, Fd positions,
                                        Sys& sys = Sys::Real());

  // Opens the ring that ShmWriter::CreateIn() has made in that memory, which
  // outlives this. The ring is only read. INVALID_ARGUMENT: sizes or alignment
  // are not as CreateIn() says, or what the last reader has released is no
  // multiple of 64.
  static absl::StatusOr<ShmReader> OpenIn(absl::Span<const std::byte> ring,
                                          absl::Span<std::byte> positions);

  // Takes the next message; false if there is none now, or there is an error().
  // Its bytes stay until Release().
  bool Poll(absl::Span<const std::byte>* message);

  // Gives the room of all messages taken so far back to the writer.
  void Release() { reader_->Release(); }

  // How far this end has come: a position as ShmWriter::position(), and the
  // number of the last message that was taken, 1 being the first ever written.
  uint64_t position() const { return reader_->cursor(); }
  uint64_t sequence() const { return sequence_; }

  // OK, or DATA_LOSS: what lies at position() is no message, or not the next
  // one. Nothing is read from then on.
  const absl::Status& error() const { return error_; }

 private:
  explicit ShmReader(std::shared_ptr<LaneMemory> memory);
  static absl::StatusOr<ShmReader> Make(std::shared_ptr<LaneMemory> memory);

  std::shared_ptr<LaneMemory> memory_;
  std::unique_ptr<RingReader> reader_;  // Which cannot be moved.
  uint64_t sequence_ = 0;  // 0: the first one that is found says where we are.
  absl::Status error_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_SHM_SHM_READER_H_
