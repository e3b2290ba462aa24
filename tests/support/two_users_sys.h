#ifndef TESTS_SUPPORT_TWO_USERS_SYS_H_
#define TESTS_SUPPORT_TWO_USERS_SYS_H_

#include <sys/socket.h>

#include <cstdint>

#include "mycelium/base/sys.h"

namespace mycelium::test {

// The kernel, except for identities: this process has one uid, and each peer of
// a Unix socket another one.
//
// Thread safety: all members may be called from any thread.
class TwoUsersSys : public Sys {
 public:
  static constexpr int64_t kOurs = 1234;

  explicit TwoUsersSys(uid_t theirs) : theirs_(theirs) {}

  int64_t GetEffectiveUid() override { return kOurs; }
  int64_t GetSockOpt(int fd, int level, int name, void* value,
                     socklen_t* bytes) override {
    const int64_t got = Sys::GetSockOpt(fd, level, name, value, bytes);
    if (got >= 0 && level == SOL_SOCKET && name == SO_PEERCRED) {
      static_cast<ucred*>(value)->uid = theirs_;
    }
    return got;
  }

 private:
  const uid_t theirs_;
};

}  // namespace mycelium::test

#endif  // TESTS_SUPPORT_TWO_USERS_SYS_H_
