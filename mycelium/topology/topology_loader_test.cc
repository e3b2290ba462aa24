#include "mycelium/topology/topology_loader.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"

namespace mycelium {
namespace {

constexpr char kText[] = "[[nodes]]\nname = \"${NAME_OF}\"\n";
constexpr char kGoodText[] = "[[nodes]]\nname = \"a\"\nhost = \"${HOST}\"\n";

EnvLookup NoVariables() {
  return [](const std::string&) { return std::nullopt; };
}

class TopologyLoaderTest : public testing::Test {
 protected:
  // Below /tmp: another uid must be able to walk there.
  void SetUp() override {
    ASSERT_NE(mkdtemp(dir_), nullptr);
    ASSERT_EQ(chmod(dir_, 0755), 0);
  }
  void TearDown() override {
    unlink(File().c_str());
    rmdir(dir_);
  }

  std::string File() const { return absl::StrCat(dir_, "/t.toml"); }
  void Write(const std::string& text) { std::ofstream(File()) << text; }
  absl::Status Load(const std::string& path) {
    return LoadTopology(Sys::Real(), path, NoVariables()).status();
  }

  char dir_[64] = "/tmp/topology_loader_test.XXXXXX";
};

TEST_F(TopologyLoaderTest, FileIsReadWithItsVariables) {
  Write(kGoodText);
  const absl::StatusOr<Topology> topology =
      LoadTopology(Sys::Real(), File(), [](const std::string& name) {
        return name == "HOST" ? std::optional<std::string>("localhost")
                              : std::nullopt;
      });
  ASSERT_TRUE(topology.ok()) << topology.status();
  EXPECT_EQ(topology->path, File());
  EXPECT_EQ(topology->nodes[0].host, "localhost");
}

TEST_F(TopologyLoaderTest, OwnHostNameIsThisMachine) {
  char name[256] = {};
  ASSERT_EQ(gethostname(name, sizeof name - 1), 0);
  Write(absl::StrCat("[[nodes]]\nname = \"a\"\nhost = \"", name, "\"\n"));
  EXPECT_EQ(Load(File()), absl::OkStatus());
}

TEST_F(TopologyLoaderTest, ErrorInTheTextNamesTheFile) {
  Write(kText);
  EXPECT_EQ(Load(File()),
            absl::InvalidArgumentError(absl::StrCat(
                File(),
                ":2:8: node \"${NAME_OF}\": name \"${NAME_OF}\" contains "
                "\"$\"")));
}

TEST_F(TopologyLoaderTest, MissingFileIsNotFound) {
  EXPECT_EQ(Load("/nowhere/topology.toml"),
            absl::NotFoundError("/nowhere/topology.toml: no such file"));
}

TEST_F(TopologyLoaderTest, DirectoryIsInvalid) {
  EXPECT_EQ(Load(dir_), absl::InvalidArgumentError(absl::StrCat(
                            dir_, ": is a directory; expected a file")));
}

TEST_F(TopologyLoaderTest, PipeIsInvalidAndNobodyWaits) {
  ASSERT_EQ(mkfifo(File().c_str(), 0600), 0);
  EXPECT_EQ(Load(File()), absl::InvalidArgumentError(
                              absl::StrCat(File(), ": is no regular file")));
}

TEST_F(TopologyLoaderTest, FileOfTenMegabytesIsRefusedUnread) {
  Write("");
  ASSERT_EQ(truncate(File().c_str(), 10'000'000), 0);
  EXPECT_EQ(Load(File()), absl::InvalidArgumentError(absl::StrCat(
                              File(), ": has 10000000 bytes; at most 262144")));
}

// Says that a file is empty, and then gives bytes for ever, in small pieces
// and with interruptions.
class GrowingFileSys final : public Sys {
 public:
  int64_t Open(const char*, int, mode_t) override { return 7; }
  int64_t Close(int) override { return 0; }
  int64_t Fstat(int, struct stat* out) override {
    *out = {};
    out->st_mode = S_IFREG;
    return 0;
  }
  int64_t Read(int, void* bytes, size_t bytes_max) override {
    if (++calls % 2 == 0) return -EINTR;
    if (bytes_max == 0) return 0;
    const size_t taken = bytes_max < 4096 ? bytes_max : 4096;
    memset(bytes, '#', taken);
    return static_cast<int64_t>(taken);
  }
  int calls = 0;
};

TEST_F(TopologyLoaderTest, FileThatGrowsWhileItIsReadIsRefused) {
  GrowingFileSys sys;
  const absl::Status status =
      LoadTopology(sys, "t.toml", NoVariables()).status();
  EXPECT_EQ(status,
            absl::InvalidArgumentError(
                "t.toml:1:1: file: it has 262145 bytes; at most 262144"));
  EXPECT_LT(sys.calls, 140);
}

class FailingReadSys final : public Sys {
 public:
  int64_t Read(int, void*, size_t) override { return -EIO; }
  int64_t Close(int fd) override {
    ++closed;
    return Sys::Close(fd);
  }
  int closed = 0;
};

TEST_F(TopologyLoaderTest, ReadErrorNamesTheFileAndClosesIt) {
  Write(kGoodText);
  FailingReadSys sys;
  EXPECT_EQ(LoadTopology(sys, File(), NoVariables()).status(),
            absl::InternalError(absl::StrCat(File(), ": Input/output error")));
  EXPECT_EQ(sys.closed, 1);
}

// Makes this process one that file modes hold for. A sandbox may have no other
// uid to change to; there, root without its capabilities is as good.
bool GiveUpPrivileges() {
  constexpr uid_t kNobody = 65534;
  if (geteuid() != 0 || setuid(kNobody) == 0) return true;
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[2] = {};
  return syscall(SYS_capset, &header, none) == 0;
}

// What `check` returns in a child without privileges; negative if the child
// could not become one.
int ReturnedWithoutPrivileges(const std::function<int()>& check) {
  constexpr int kStillPrivileged = 99;
  const pid_t child = fork();
  if (child == 0) _exit(GiveUpPrivileges() ? check() : kStillPrivileged);
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) == kStillPrivileged) return -1;
  return WEXITSTATUS(status);
}

TEST_F(TopologyLoaderTest, FileThatThisUidMayNotReadIsPermissionDenied) {
  Write("[[nodes]]\nname = \"a\"\n");
  const absl::Status denied =
      absl::PermissionDeniedError(absl::StrCat(File(), ": Permission denied"));
  const auto code_of_load = [this, &denied] {
    const absl::Status status = Load(File());
    return status.ok() ? 1 : status == denied ? 2 : 3;
  };
  ASSERT_EQ(chmod(File().c_str(), 0644), 0);
  EXPECT_EQ(ReturnedWithoutPrivileges(code_of_load), 1);
  ASSERT_EQ(chmod(File().c_str(), 0), 0);
  EXPECT_EQ(ReturnedWithoutPrivileges(code_of_load), 2);
}

}  // namespace
}  // namespace mycelium
