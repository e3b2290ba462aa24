#include "mycelium/topology/socket_dir.h"

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace mycelium {
namespace {

constexpr mode_t kParentMode = 0755;
constexpr mode_t kPrivateMode = 0700;
constexpr mode_t kSharedMode = 0711;
constexpr mode_t kOthersWrite = 0022;
constexpr mode_t kOthersPass = 0011;

// Creates what is missing above `path`; the kernel says what stands in the way
// when `path` itself is made.
void MakeParents(Sys& sys, absl::string_view path) {
  for (size_t slash = path.find('/', 1); slash != absl::string_view::npos;
       slash = path.find('/', slash + 1)) {
    sys.Mkdir(std::string(path.substr(0, slash)).c_str(), kParentMode);
  }
}

}  // namespace

std::string DefaultSocketDir(const EnvLookup& env, int64_t uid) {
  const std::optional<std::string> runtime_dir = env("XDG_RUNTIME_DIR");
  // The XDG specification: a relative path is invalid and ignored.
  if (runtime_dir.has_value() && absl::StartsWith(*runtime_dir, "/")) {
    return absl::StrCat(*runtime_dir, "/mycelium");
  }
  return absl::StrCat("/tmp/mycelium-", uid);
}

absl::Status PrepareSocketDir(Sys& sys, const std::string& path,
                              const std::vector<int64_t>& allow_uids) {
  // A slash at the end would follow a symbolic link.
  absl::string_view trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.remove_suffix(1);
  const std::string dir(trimmed);
  const std::string where = absl::StrCat("socket_dir ", dir);
  const mode_t mode = allow_uids.empty() ? kPrivateMode : kSharedMode;

  MakeParents(sys, dir);
  const int64_t made = sys.Mkdir(dir.c_str(), mode);
  if (made < 0 && made != -EEXIST) return ErrnoStatus(made, where);

  struct stat found;
  const int64_t looked = sys.Lstat(dir.c_str(), &found);
  if (looked < 0) return ErrnoStatus(looked, where);
  if (S_ISLNK(found.st_mode)) {
    return absl::PermissionDeniedError(
        absl::StrCat(where, ": is a symbolic link"));
  }
  if (!S_ISDIR(found.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(where, ": is no directory"));
  }
  const int64_t uid = sys.GetEffectiveUid();
  if (static_cast<int64_t>(found.st_uid) != uid) {
    return absl::PermissionDeniedError(absl::StrCat(
        where, ": belongs to uid ", found.st_uid, ", not to uid ", uid));
  }
  const mode_t present = found.st_mode & 07777;
  if (present == mode) return absl::OkStatus();
  if (made < 0 && (present & kOthersWrite) != 0) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s: others may write there (mode %#o); name a "
        "directory that is for the sockets alone, such as %s, "
        "or make this one %#o",
        where, present, dir == "/" ? "/mycelium" : dir + "/mycelium", mode));
  }
  // Of a directory that exists nothing is taken away: another program of this
  // user may let others in. One that nobody else can pass is opened where the
  // file says that others come, if it is as we make it.
  if (made < 0) {
    if (allow_uids.empty() || (present & kOthersPass) != 0) {
      return absl::OkStatus();
    }
    if (present != kPrivateMode) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "%s: those of allow_uids cannot pass it (mode %#o); chmod it to %#o",
          where, present, mode));
    }
  }
  const int64_t changed = sys.Chmod(dir.c_str(), mode);
  if (changed < 0) {
    return ErrnoStatus(changed, absl::StrFormat("%s: chmod %#o", where, mode));
  }
  return absl::OkStatus();
}

}  // namespace mycelium
