#ifndef MYCELIUM_TRANSPORT_SHM_SEGMENT_H_
#define MYCELIUM_TRANSPORT_SHM_SEGMENT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "mycelium/base/fd.h"
#include "mycelium/base/fork_guard.h"
#include "mycelium/base/sys.h"

namespace mycelium {

// Anonymous memory that two processes map, and that neither can shrink, grow or
// unseal: so no access to it ever fails. It has no name, and goes with its last
// mapping and descriptor. Children of fork() do not inherit the mapping; where
// it was, a child may have something else by now. So the destructor leaves that
// place, and the descriptor, alone in a child (docs/adr/0028).
//
// Thread safety: const members from any thread.
//
// Ownership: owns mapping and descriptor; borrows `sys`.
class Segment final {
 public:
  enum class Kind {
    kRing,       // Only its maker writes to it, through this one mapping.
    kPositions,  // Both sides write to it.
  };

  // Zero-filled; its pages are reserved.
  //   RESOURCE_EXHAUSTED  no memory, descriptors or addresses are left
  static absl::StatusOr<Segment> Create(Sys& sys, Kind kind, size_t bytes);

  // Maps what another process made, if it is of that kind and size and sealed.
  // INVALID_ARGUMENT if not. The descriptor is closed.
  static absl::StatusOr<Segment> Map(Sys& sys, Kind kind, Fd fd, size_t bytes);

  Segment(Segment&& other) noexcept;
  Segment& operator=(Segment&&) = delete;
  ~Segment();

  absl::Span<std::byte> bytes() const { return bytes_; }
  // The descriptor of a segment that was made here; else -1.
  int descriptor() const { return fd_->get(); }
  // While that is held, that descriptor stays open, also when Renew() has
  // replaced it or the segment is gone.
  std::shared_ptr<const void> descriptor_keeper() const { return fd_; }
  // Device and inode of a segment that another process made; else zeros.
  std::pair<uint64_t, uint64_t> file() const { return file_; }

  // Puts a fresh segment of the same kind and size where this one is mapped.
  // Before that, `fill` is given the fresh memory. On an error there is memory
  // of this process alone, which was zero before it was given to `fill`, and no
  // descriptor. If there is no memory even for that, nothing has changed.
  absl::Status Renew(absl::FunctionRef<void(absl::Span<std::byte>)> fill);

 private:
  absl::Status PutThere(Segment fresh);
  Segment(Sys& sys, Kind kind, Fd fd, absl::Span<std::byte> bytes)
      : sys_(sys),
        kind_(kind),
        fd_(std::make_shared<const Fd>(std::move(fd))),
        bytes_(bytes) {}

  Sys& sys_;
  const Kind kind_;
  std::shared_ptr<const Fd> fd_;  // Null once it was moved from.
  absl::Span<std::byte> bytes_;
  std::pair<uint64_t, uint64_t> file_ = {0, 0};
  ForkGuard guard_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_SHM_SEGMENT_H_
