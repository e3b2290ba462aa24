#include "mycelium/transport/shm/segment.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "mycelium/base/memory_seals.h"
#include "mycelium/transport/shm/memory_limit.h"

namespace mycelium {
namespace {

// The loop waits for pages to be made, 0.1 ms for each 4 MiB or so.
constexpr size_t kPopulatedBytesMax = 64 << 20;

int SealsOf(Segment::Kind kind) {
  return kind == Segment::Kind::kRing ? kSealsOfSizeAndWriting : kSealsOfSize;
}

absl::StatusOr<Fd> MakeReserved(Sys& sys, size_t bytes) {
  const int64_t made = sys.MemfdCreate("mycelium-lane");
  if (made < 0) return ErrnoStatus(made, "memfd_create");
  Fd fd(sys, static_cast<int>(made));
  if (absl::Status fits = CheckMemoryLimit(sys, bytes); !fits.ok()) return fits;
  int64_t reserved;
  do {
    reserved = sys.Reserve(fd.get(), bytes);
  } while (reserved == -EINTR);
  if (reserved < 0) {
    return ErrnoStatus(
        reserved, absl::StrCat("reserve ", bytes, " bytes of shared memory"));
  }
  return fd;
}

// `reserved`: all its pages are there.
absl::StatusOr<absl::Span<std::byte>> MapShared(Sys& sys, const Fd& fd,
                                                size_t bytes, int protection,
                                                bool reserved) {
  // Otherwise every few dozen messages of the first lap have a page fault, and
  // those would be its slowest percent. Pages that are not there would be made
  // here, at this process's expense.
  const bool populates = reserved && bytes <= kPopulatedBytesMax;
  const int populated = populates ? Sys::kMapPopulated : 0;
  int64_t error = 0;
  void* const address =
      sys.Map(bytes, protection, MAP_SHARED | populated, fd.get(), &error);
  if (address == nullptr) {
    return ErrnoStatus(error,
                       absl::StrCat("map ", bytes, " bytes of shared memory"));
  }
  const int64_t kept = sys.KeepFromChildren(address, bytes);
  if (kept < 0) {
    sys.Unmap(address, bytes);
    return ErrnoStatus(kept, "keep shared memory from children");
  }
  return absl::MakeSpan(static_cast<std::byte*>(address), bytes);
}

}  // namespace

Segment::Segment(Segment&& other) noexcept
    : sys_(other.sys_),
      kind_(other.kind_),
      fd_(std::move(other.fd_)),
      bytes_(std::exchange(other.bytes_, {})),
      file_(other.file_),
      guard_(other.guard_) {}

Segment::~Segment() {
  if (guard_.is_inherited()) {
    // A child that has opened the segment by the descriptor's number has closed
    // that one already.
    ForkGuard::KeepForEver(std::move(fd_));
    return;
  }
  if (!bytes_.empty()) sys_.Unmap(bytes_.data(), bytes_.size());
}

absl::StatusOr<Segment> Segment::Create(Sys& sys, Kind kind, size_t bytes) {
  absl::StatusOr<Fd> fd = MakeReserved(sys, bytes);
  if (!fd.ok()) return fd.status();
  // Before the seals: FUTURE_WRITE leaves only the mappings that exist.
  absl::StatusOr<absl::Span<std::byte>> mapped =
      MapShared(sys, *fd, bytes, PROT_READ | PROT_WRITE, /*reserved=*/true);
  if (!mapped.ok()) return mapped.status();
  Segment segment(sys, kind, *std::move(fd), *mapped);
  const int64_t sealed = sys.AddSeals(segment.descriptor(), SealsOf(kind));
  if (sealed < 0) return ErrnoStatus(sealed, "seal shared memory");
  return segment;
}

absl::StatusOr<Segment> Segment::Map(Sys& sys, Kind kind, Fd fd, size_t bytes) {
  const int64_t seals = sys.GetSeals(fd.get());
  if (seals < 0 || (seals & SealsOf(kind)) != SealsOf(kind)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a descriptor is no sealed memory: seals ", seals, " of ",
                     SealsOf(kind)));
  }
  struct stat found;
  const int64_t looked = sys.Fstat(fd.get(), &found);
  if (looked < 0) return ErrnoStatus(looked, "look at a descriptor");
  if (static_cast<uint64_t>(found.st_size) != bytes) {
    return absl::InvalidArgumentError(absl::StrCat("shared memory has ",
                                                   found.st_size, " bytes; ",
                                                   bytes, " were announced"));
  }
  const int protection =
      kind == Kind::kRing ? PROT_READ : PROT_READ | PROT_WRITE;
  constexpr uint64_t kBlockBytes = 512;  // Of `st_blocks`, whatever the pages.
  const bool reserved =
      static_cast<uint64_t>(found.st_blocks) * kBlockBytes >= bytes;
  absl::StatusOr<absl::Span<std::byte>> mapped =
      MapShared(sys, fd, bytes, protection, reserved);
  if (!mapped.ok()) return mapped.status();
  Segment segment(sys, kind, Fd(), *mapped);
  segment.file_ = {found.st_dev, found.st_ino};
  return segment;
}

absl::Status Segment::Renew(
    absl::FunctionRef<void(absl::Span<std::byte>)> fill) {
  absl::StatusOr<Segment> fresh = Create(sys_, kind_, bytes_.size());
  absl::Status renewed = fresh.status();
  if (fresh.ok()) {
    fill(fresh->bytes());
    renewed = PutThere(*std::move(fresh));
  }
  if (!renewed.ok() &&
      sys_.MapOver(bytes_.data(), bytes_.size(), /*fd=*/-1) == 0) {
    fill(bytes_);
    fd_ = std::make_shared<const Fd>();
  }
  // If this fails, the memory can be no more than inherited by a child.
  (void)sys_.KeepFromChildren(bytes_.data(), bytes_.size());
  return renewed;
}

absl::Status Segment::PutThere(Segment fresh) {
  const int64_t mapped =
      sys_.MapOver(bytes_.data(), bytes_.size(), fresh.descriptor());
  if (mapped < 0) return ErrnoStatus(mapped, "map fresh shared memory");
  fd_ = std::move(fresh.fd_);
  return absl::OkStatus();
}

}  // namespace mycelium
