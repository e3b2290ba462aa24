#ifndef TESTS_SUPPORT_CGROUP_SYS_H_
#define TESTS_SUPPORT_CGROUP_SYS_H_

#include <sys/types.h>

#include <cstdint>
#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/support/faulty_sys.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {

// A kernel for which this process is in a memory cgroup with a limit.
//
// Thread safety: as FaultySys; SetMemory() before the first call.
class CgroupSys final : public FaultySys {
 public:
  // The group may have `limit` bytes, of which `used` are taken.
  void SetMemory(int64_t limit, int64_t used) {
    std::ofstream(dir_.file("groups")) << "0::/\n";
    std::ofstream(dir_.file("memory.max")) << limit << "\n";
    std::ofstream(dir_.file("memory.current")) << used << "\n";
  }

  int64_t Open(const char* path, int flags, mode_t mode) override {
    constexpr absl::string_view kRoot = "/sys/fs/cgroup/";
    std::string real = path;
    if (real == "/proc/self/cgroup") {
      real = dir_.file("groups");
    } else if (absl::StartsWith(real, kRoot)) {
      real = dir_.file(real.substr(kRoot.size()));
    }
    return FaultySys::Open(real.c_str(), flags, mode);
  }

 private:
  const ShortTempDir dir_;
};

}  // namespace mycelium::test

#endif  // TESTS_SUPPORT_CGROUP_SYS_H_
