#ifndef MYCELIUM_BASE_FD_H_
#define MYCELIUM_BASE_FD_H_

#include <utility>

#include "mycelium/base/sys.h"

namespace mycelium {

// Owns a descriptor and closes it once.
class Fd final {
 public:
  Fd() = default;
  // `sys` must outlive the object.
  Fd(Sys& sys, int fd) : sys_(&sys), fd_(fd) {}
  Fd(Fd&& other) noexcept
      : sys_(other.sys_), fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      Close();
      sys_ = other.sys_;
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { Close(); }

  bool valid() const { return fd_ >= 0; }
  int get() const { return fd_; }

  void Close() {
    if (fd_ >= 0) sys_->Close(std::exchange(fd_, -1));
  }

 private:
  Sys* sys_ = nullptr;
  int fd_ = -1;
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_FD_H_
