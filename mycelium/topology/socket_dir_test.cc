#include "mycelium/topology/socket_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mycelium {
namespace {

class SocketDirTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = absl::StrCat(testing::TempDir(), "/dir.XXXXXX");
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    base_ = pattern;
    path_ = base_ + "/sockets";
  }

  mode_t ModeOf(const std::string& path) {
    struct stat found;
    EXPECT_EQ(lstat(path.c_str(), &found), 0);
    return found.st_mode & 07777;
  }

  std::string base_;
  std::string path_;
};

TEST_F(SocketDirTest, DirectoryIsMadeForItsOwnerAlone) {
  EXPECT_EQ(PrepareSocketDir(Sys::Real(), path_, {}), absl::OkStatus());
  EXPECT_EQ(ModeOf(path_), 0700u);
}

TEST_F(SocketDirTest, DirectoryCanBePassedThroughByAllowedUids) {
  const mode_t before = umask(0077);
  EXPECT_EQ(PrepareSocketDir(Sys::Real(), path_, {1001}), absl::OkStatus());
  umask(before);
  EXPECT_EQ(ModeOf(path_), 0711u);
}

TEST_F(SocketDirTest, MissingParentsAreMade) {
  const std::string deep = path_ + "/a/b/";
  EXPECT_EQ(PrepareSocketDir(Sys::Real(), deep, {}), absl::OkStatus());
  EXPECT_EQ(ModeOf(path_ + "/a/b"), 0700u);
}

// The second start may be another program's, and the first one still run.
TEST_F(SocketDirTest, IsOpenedForAllowedUidsAndStaysOpen) {
  ASSERT_EQ(mkdir(path_.c_str(), 0700), 0);
  EXPECT_EQ(PrepareSocketDir(Sys::Real(), path_, {1001}), absl::OkStatus());
  EXPECT_EQ(ModeOf(path_), 0711u);
  EXPECT_EQ(PrepareSocketDir(Sys::Real(), path_, {}), absl::OkStatus());
  EXPECT_EQ(ModeOf(path_), 0711u);
}

TEST_F(SocketDirTest, ExistingDirectoryThatOthersReadKeepsItsMode) {
  ASSERT_EQ(mkdir(path_.c_str(), 0700), 0);
  for (const mode_t mode : {0755u, 0750u}) {
    ASSERT_EQ(chmod(path_.c_str(), mode), 0);
    EXPECT_EQ(PrepareSocketDir(Sys::Real(), path_, {}), absl::OkStatus());
    EXPECT_EQ(PrepareSocketDir(Sys::Real(), path_, {1001}), absl::OkStatus());
    EXPECT_EQ(ModeOf(path_), mode);
  }
}

TEST_F(SocketDirTest, ExistingDirectoryThatAllowedUidsCannotPassIsRefused) {
  ASSERT_EQ(mkdir(path_.c_str(), 0700), 0);
  for (const mode_t mode : {0500u, 0744u}) {
    ASSERT_EQ(chmod(path_.c_str(), mode), 0);
    EXPECT_EQ(PrepareSocketDir(Sys::Real(), path_, {}), absl::OkStatus());
    EXPECT_EQ(PrepareSocketDir(Sys::Real(), path_, {1001}),
              absl::FailedPreconditionError(absl::StrFormat(
                  "socket_dir %s: those of allow_uids cannot pass it (mode "
                  "%#o); chmod it to 0711",
                  path_, mode)));
    EXPECT_EQ(ModeOf(path_), mode);
  }
}

TEST_F(SocketDirTest, ExistingDirectoryThatOthersWriteIsRefusedAndLeftAlone) {
  ASSERT_EQ(mkdir(path_.c_str(), 0700), 0);
  for (const mode_t mode : {01777u, 0770u, 0702u}) {
    ASSERT_EQ(chmod(path_.c_str(), mode), 0);
    EXPECT_EQ(PrepareSocketDir(Sys::Real(), path_, {}),
              absl::FailedPreconditionError(absl::StrFormat(
                  "socket_dir %s: others may write there (mode %#o); name a "
                  "directory that is for the sockets alone, such as "
                  "%s/mycelium, or make this one 0700",
                  path_, mode, path_)));
    EXPECT_EQ(ModeOf(path_), mode);
  }
}

TEST_F(SocketDirTest, SymbolicLinkIsRefusedWithAndWithoutSlash) {
  ASSERT_EQ(symlink(base_.c_str(), path_.c_str()), 0);
  const absl::Status refused = absl::PermissionDeniedError(
      absl::StrCat("socket_dir ", path_, ": is a symbolic link"));
  EXPECT_EQ(PrepareSocketDir(Sys::Real(), path_, {}), refused);
  EXPECT_EQ(PrepareSocketDir(Sys::Real(), path_ + "//", {}), refused);
}

TEST_F(SocketDirTest, FileIsRefused) {
  ASSERT_EQ(mknod(path_.c_str(), S_IFREG | 0600, 0), 0);
  EXPECT_EQ(PrepareSocketDir(Sys::Real(), path_, {}),
            absl::FailedPreconditionError(
                absl::StrCat("socket_dir ", path_, ": is no directory")));
}

class OtherUidSys final : public Sys {
 public:
  int64_t GetEffectiveUid() override { return Sys::GetEffectiveUid() + 1; }
  int64_t Chmod(const char*, mode_t) override {
    ++chmods;
    return 0;
  }
  int chmods = 0;
};

TEST_F(SocketDirTest, DirectoryOfAnotherUidIsRefusedAndLeftAlone) {
  ASSERT_EQ(mkdir(path_.c_str(), 0755), 0);
  OtherUidSys sys;
  EXPECT_EQ(PrepareSocketDir(sys, path_, {}),
            absl::PermissionDeniedError(
                absl::StrCat("socket_dir ", path_, ": belongs to uid ",
                             geteuid(), ", not to uid ", geteuid() + 1)));
  EXPECT_EQ(sys.chmods, 0);
}

class FullDiskSys final : public Sys {
 public:
  int64_t Mkdir(const char*, mode_t) override { return -ENOSPC; }
};

TEST_F(SocketDirTest, SystemErrorNamesTheDirectory) {
  FullDiskSys sys;
  EXPECT_EQ(PrepareSocketDir(sys, path_, {}),
            absl::ResourceExhaustedError(absl::StrCat(
                "socket_dir ", path_, ": No space left on device")));
}

TEST_F(SocketDirTest, DefaultFollowsTheRuntimeDirectoryElseTheUid) {
  const auto with = [](const char* value) -> EnvLookup {
    return [value](const std::string& name) {
      return name == "XDG_RUNTIME_DIR" && value != nullptr
                 ? std::optional<std::string>(value)
                 : std::nullopt;
    };
  };
  EXPECT_EQ(DefaultSocketDir(with("/run/user/7"), 7), "/run/user/7/mycelium");
  EXPECT_EQ(DefaultSocketDir(with(nullptr), 7), "/tmp/mycelium-7");
  EXPECT_EQ(DefaultSocketDir(with(""), 7), "/tmp/mycelium-7");
  EXPECT_EQ(DefaultSocketDir(with("relative"), 7), "/tmp/mycelium-7");
}

}  // namespace
}  // namespace mycelium
