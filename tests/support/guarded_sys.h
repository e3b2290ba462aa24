#ifndef TESTS_SUPPORT_GUARDED_SYS_H_
#define TESTS_SUPPORT_GUARDED_SYS_H_

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>

#include "mycelium/base/sys.h"

namespace mycelium::test {

// The kernel, with a guard page before and behind each mapping: a thread that
// reads or writes outside the mapping is killed by SIGSEGV.
//
// Thread safety: all members may be called from any thread.
class GuardedSys final : public Sys {
 public:
  static constexpr size_t kGuardBytes = 4096;

  void* Map(size_t bytes, int protection, int flags, int fd,
            int64_t* error) override {
    const size_t whole = bytes + 2 * kGuardBytes;
    void* const reserved =
        Sys::Map(whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                 -1, error);
    if (reserved == nullptr) return nullptr;
    char* const inner = static_cast<char*>(reserved) + kGuardBytes;
    if (mmap(inner, bytes, protection, flags | MAP_FIXED, fd, 0) ==
        MAP_FAILED) {
      *error = -errno;
      Sys::Unmap(reserved, whole);
      return nullptr;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    mapped_.insert(inner);
    return inner;
  }

  int64_t Unmap(void* address, size_t bytes) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (mapped_.erase(address) == 0) return -EINVAL;
    }
    return Sys::Unmap(static_cast<char*>(address) - kGuardBytes,
                      bytes + 2 * kGuardBytes);
  }

  // How many mappings there are.
  size_t mapped() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return mapped_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::set<void*> mapped_;
};

}  // namespace mycelium::test

#endif  // TESTS_SUPPORT_GUARDED_SYS_H_
