#ifndef TESTS_SUPPORT_SHORT_TEMP_DIR_H_
#define TESTS_SUPPORT_SHORT_TEMP_DIR_H_

#include <stdlib.h>

#include <filesystem>
#include <string>

namespace mycelium::test {

// A fresh directory whose path is short enough for Unix sockets; Bazel's own is
// not. It is removed with all that is in it.
class ShortTempDir final {
 public:
  ShortTempDir() {
    char path[] = "/tmp/myc-XXXXXX";
    path_ = mkdtemp(path);
  }
  ShortTempDir(const ShortTempDir&) = delete;
  ShortTempDir& operator=(const ShortTempDir&) = delete;
  ~ShortTempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace mycelium::test

#endif  // TESTS_SUPPORT_SHORT_TEMP_DIR_H_
