#ifndef TESTS_SUPPORT_MAPPED_FILES_H_
#define TESTS_SUPPORT_MAPPED_FILES_H_

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

namespace mycelium::test {

// A file that this process has mapped, as the kernel names it.
struct MappedFile {
  uint64_t inode = 0;  // 0: no file.
  std::string name;

  bool is_shared_memory() const { return name.rfind("/memfd:", 0) == 0; }
};

// What is mapped where `address` is.
inline MappedFile MappedFileAt(const void* address) {
  const auto wanted = reinterpret_cast<uintptr_t>(address);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    uintptr_t from, until;
    char dash;
    std::string mode, offset, device;
    MappedFile file;
    words >> std::hex >> from >> dash >> until >> mode >> offset >> device >>
        std::dec >> file.inode >> file.name;
    if (from <= wanted && wanted < until) return file;
  }
  return {};
}

// How many pieces of shared memory this process has mapped.
inline size_t MappedMemories() {
  std::ifstream maps("/proc/self/maps");
  size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    count += line.find("/memfd:") != std::string::npos ? 1 : 0;
  }
  return count;
}

}  // namespace mycelium::test

#endif  // TESTS_SUPPORT_MAPPED_FILES_H_
