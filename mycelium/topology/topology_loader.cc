#include "mycelium/topology/topology_loader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "mycelium/topology/topology_parser.h"

namespace mycelium {
namespace {

// The whole file, or an error that names it. Opened without blocking, so that
// a path to a pipe is an error and not a wait.
absl::StatusOr<std::string> ReadFile(Sys& sys, const std::string& path) {
  int64_t fd;
  do {
    fd = sys.Open(path.c_str(), O_RDONLY | O_NONBLOCK, 0);
  } while (fd == -EINTR);
  if (fd == -ENOENT) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  }
  if (fd < 0) return ErrnoStatus(fd, path);
  const auto close =
      absl::MakeCleanup([&] { sys.Close(static_cast<int>(fd)); });

  struct stat found;
  const int64_t looked = sys.Fstat(static_cast<int>(fd), &found);
  if (looked < 0) return ErrnoStatus(looked, path);
  if (S_ISDIR(found.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is a directory; expected a file"));
  }
  if (!S_ISREG(found.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is no regular file"));
  }
  if (static_cast<uint64_t>(found.st_size) > kTopologyBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": has ", found.st_size, " bytes; at most ", kTopologyBytesMax));
  }
  // One byte more than may be: the file can grow while it is read.
  std::string text(kTopologyBytesMax + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const int64_t taken =
        sys.Read(static_cast<int>(fd), &text[size], text.size() - size);
    if (taken == -EINTR) continue;
    if (taken < 0) return ErrnoStatus(taken, path);
    if (taken == 0) break;
    size += static_cast<size_t>(taken);
  }
  text.resize(size);
  return text;
}

}  // namespace

absl::StatusOr<Topology> LoadTopology(Sys& sys, const std::string& path,
                                      const EnvLookup& env) {
  const absl::StatusOr<std::string> text = ReadFile(sys, path);
  if (!text.ok()) return text.status();
  return ParseTopology(*text, path, env, ReadLocalIdentity(sys));
}

}  // namespace mycelium
