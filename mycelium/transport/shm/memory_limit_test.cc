#include "mycelium/transport/shm/memory_limit.h"

#include <cerrno>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace mycelium {
namespace {

constexpr int64_t kMiB = 1 << 20;

// A machine with these files and no others.
class FilesSys final : public Sys {
 public:
  int64_t Open(const char* path, int, mode_t) override {
    const auto file = files.find(path);
    if (file == files.end()) return -ENOENT;
    opened_.push_back(file->second);
    return static_cast<int64_t>(opened_.size()) - 1;
  }
  int64_t Read(int fd, void* bytes, size_t bytes_max) override {
    const std::string& text = opened_[static_cast<size_t>(fd)];
    const size_t count = std::min(bytes_max, text.size());
    std::memcpy(bytes, text.data(), count);
    return static_cast<int64_t>(count);
  }
  int64_t Close(int) override { return 0; }

  std::map<std::string, std::string> files;

 private:
  std::vector<std::string> opened_;
};

class MemoryLimitTest : public ::testing::Test {
 protected:
  void AddGroup(const std::string& folder, int64_t limit, int64_t used) {
    sys_.files[folder + "/memory.max"] = absl::StrCat(limit, "\n");
    sys_.files[folder + "/memory.current"] = absl::StrCat(used, "\n");
  }
  FilesSys sys_;
};

TEST_F(MemoryLimitTest, MachineWithoutGroupsHasNoLimit) {
  EXPECT_TRUE(CheckMemoryLimit(sys_, 1 << 30).ok());
}

TEST_F(MemoryLimitTest, WhatFitsBesideTheHeadroomIsAllowedAndOneByteMoreIsNot) {
  sys_.files["/proc/self/cgroup"] = "0::/box\n";
  AddGroup("/sys/fs/cgroup/box", 20 * kMiB, 10 * kMiB);
  EXPECT_TRUE(CheckMemoryLimit(sys_, 6 * kMiB).ok());
  const absl::Status refused = CheckMemoryLimit(sys_, 6 * kMiB + 1);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(refused.message().find("/sys/fs/cgroup/box"), std::string::npos);
}

TEST_F(MemoryLimitTest, GroupAroundItCountsToo) {
  sys_.files["/proc/self/cgroup"] = "0::/outer/inner\n";
  sys_.files["/sys/fs/cgroup/outer/inner/memory.max"] = "max\n";
  sys_.files["/sys/fs/cgroup/outer/inner/memory.current"] = "1\n";
  AddGroup("/sys/fs/cgroup/outer", 20 * kMiB, 19 * kMiB);
  EXPECT_FALSE(CheckMemoryLimit(sys_, kMiB).ok());
}

TEST_F(MemoryLimitTest, FilesThatTheKernelMayForgetAreNotUsed) {
  sys_.files["/proc/self/cgroup"] = "0::/box\n";
  AddGroup("/sys/fs/cgroup/box", 20 * kMiB, 19 * kMiB);
  EXPECT_FALSE(CheckMemoryLimit(sys_, kMiB).ok());
  sys_.files["/sys/fs/cgroup/box/memory.stat"] =
      absl::StrCat("anon 1\ninactive_file ", 10 * kMiB, "\nslab 3\n");
  EXPECT_TRUE(CheckMemoryLimit(sys_, kMiB).ok());
}

TEST_F(MemoryLimitTest, VersionOneIsFoundAmongCombinedControllers) {
  sys_.files["/proc/self/cgroup"] = "5:cpu,memory:/box\n1:name=systemd:/\n";
  const std::string folder = "/sys/fs/cgroup/memory/box";
  sys_.files[folder + "/memory.limit_in_bytes"] = absl::StrCat(20 * kMiB);
  sys_.files[folder + "/memory.usage_in_bytes"] = absl::StrCat(19 * kMiB);
  EXPECT_FALSE(CheckMemoryLimit(sys_, kMiB).ok());
}

}  // namespace
}  // namespace mycelium
