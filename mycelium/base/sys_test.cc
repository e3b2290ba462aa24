#include "mycelium/base/sys.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/base/fd.h"
#include "mycelium/base/mapping.h"

namespace mycelium {
namespace {

using ::absl::StatusCode;

class CountingSys final : public Sys {
 public:
  int64_t Close(int fd) override {
    ++closes;
    return Sys::Close(fd);
  }
  void* Map(size_t bytes, int protection, int flags, int fd,
            int64_t* error) override {
    if (!refuse_maps) return Sys::Map(bytes, protection, flags, fd, error);
    *error = -ENOMEM;
    return nullptr;
  }
  int64_t Unmap(void* address, size_t bytes) override {
    ++unmaps;
    return Sys::Unmap(address, bytes);
  }
  int closes = 0;
  int unmaps = 0;
  bool refuse_maps = false;
};

// Makes the kernel refuse that call to this process, as a sandbox does.
bool Refuse(uint32_t call, uint32_t error) {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const sock_fprog filter = {std::size(code), code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// Whether a wait ends when something is ready, and at its time when nothing is.
bool WaitsByEpoll() {
  Sys& sys = Sys::Real();
  const Fd epoll(sys, static_cast<int>(sys.EpollCreate()));
  const Fd event(sys, static_cast<int>(sys.EventFd()));
  epoll_event wanted = {};
  wanted.events = EPOLLIN;
  epoll_event got;
  bool is_so =
      sys.EpollCtl(epoll.get(), EPOLL_CTL_ADD, event.get(), &wanted) == 0;
  const int64_t begin = sys.MonotonicNs();
  is_so &= sys.EpollWait(epoll.get(), &got, 1, /*timeout_ns=*/1'500'000) == 0;
  is_so &= sys.MonotonicNs() - begin >= 1'500'000;
  const uint64_t one = 1;
  is_so &= sys.Write(event.get(), &one, sizeof one) == sizeof one;
  // Months: more milliseconds than an int has.
  is_so &= sys.EpollWait(epoll.get(), &got, 1, int64_t{1} << 53) == 1;
  is_so &= sys.EpollWait(epoll.get(), &got, 1, -1) == 1;
  return is_so && sys.EpollWait(epoll.get(), &got, 1, 0) == 1;
}

TEST(SysTest, WaitsWhereTheSystemDoesNotKnowEpollPwait2) {
  EXPECT_TRUE(WaitsByEpoll());
  for (const uint32_t error : {ENOSYS, EPERM}) {
    EXPECT_EXIT(
        {
          const bool is_refused = Refuse(SYS_epoll_pwait2, error);
          std::_Exit(!is_refused ? 2 : WaitsByEpoll() ? 0 : 1);
        },
        ::testing::ExitedWithCode(0), "")
        << error;
  }
}

TEST(ErrnoStatusTest, EachErrnoHasItsCode) {
  const std::map<int, StatusCode> codes = {
      {ENOENT, StatusCode::kUnavailable},
      {ECONNREFUSED, StatusCode::kUnavailable},
      {ECONNRESET, StatusCode::kUnavailable},
      {EPIPE, StatusCode::kUnavailable},
      {ENOTCONN, StatusCode::kUnavailable},
      {EHOSTUNREACH, StatusCode::kUnavailable},
      {ENETUNREACH, StatusCode::kUnavailable},
      {ENOSYS, StatusCode::kUnavailable},
      {EACCES, StatusCode::kPermissionDenied},
      {EPERM, StatusCode::kPermissionDenied},
      {EEXIST, StatusCode::kAlreadyExists},
      {EADDRINUSE, StatusCode::kAlreadyExists},
      {EMFILE, StatusCode::kResourceExhausted},
      {ENFILE, StatusCode::kResourceExhausted},
      {ENOMEM, StatusCode::kResourceExhausted},
      {ENOBUFS, StatusCode::kResourceExhausted},
      {ENOSPC, StatusCode::kResourceExhausted},
      {EFBIG, StatusCode::kResourceExhausted},
      {EAGAIN, StatusCode::kResourceExhausted},
      {EINVAL, StatusCode::kInvalidArgument},
      {ENAMETOOLONG, StatusCode::kInvalidArgument},
      {EISDIR, StatusCode::kInvalidArgument},
      {ENOTDIR, StatusCode::kInvalidArgument},
      {ELOOP, StatusCode::kInvalidArgument},
      {ETIMEDOUT, StatusCode::kDeadlineExceeded},
      {EBADF, StatusCode::kInternal},
      {EIO, StatusCode::kInternal},
  };
  for (const auto& [error, code] : codes) {
    EXPECT_EQ(ErrnoStatus(-error, "call").code(), code) << error;
  }
}

TEST(ErrnoStatusTest, MessageNamesTheCallAndTheReason) {
  EXPECT_EQ(ErrnoStatus(-ENOENT, "connect /run/x.sock").message(),
            "connect /run/x.sock: No such file or directory");
}

TEST(SysTest, FailedCallReturnsTheNegatedErrno) {
  EXPECT_EQ(Sys::Real().Open("/no/such/file", O_RDONLY, 0), -ENOENT);
  EXPECT_EQ(Sys::Real().Close(-1), -EBADF);
}

TEST(SysTest, FutexWaitEndsWithoutSleepingIfTheWordDiffers) {
  std::atomic<uint32_t> word{7};
  EXPECT_EQ(Sys::Real().FutexWait(&word, 8, -1), -EAGAIN);
  EXPECT_EQ(Sys::Real().FutexWait(&word, 7, 1000), -ETIMEDOUT);
  EXPECT_EQ(Sys::Real().FutexWake(&word, 1), 0);
}

TEST(SysTest, ReserveBeyondTheFileSizeLimitIsRefusedAndEndsNobody) {
  const Fd fd(Sys::Real(), static_cast<int>(Sys::Real().MemfdCreate("test")));
  ASSERT_TRUE(fd.valid());
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit limit = before;
  limit.rlim_cur = 8192;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const int64_t fits = Sys::Real().Reserve(fd.get(), 8192);
  const int64_t beyond = Sys::Real().Reserve(fd.get(), 8193);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(fits, 0);
  EXPECT_EQ(beyond, -EFBIG);
}

// A page that is not there when it is written to ends the process if there is
// no memory by then.
TEST(SysTest, ReservedMemoryHasAllOfItsPages) {
  const Fd fd(Sys::Real(), static_cast<int>(Sys::Real().MemfdCreate("test")));
  ASSERT_TRUE(fd.valid());
  constexpr int64_t kBytes = 1 << 20;
  ASSERT_EQ(Sys::Real().Reserve(fd.get(), kBytes), 0);
  struct stat found;
  ASSERT_EQ(Sys::Real().Fstat(fd.get(), &found), 0);
  EXPECT_EQ(found.st_size, kBytes);
  EXPECT_GE(found.st_blocks * 512, kBytes);
}

TEST(FdTest, DescriptorIsClosedOnceByItsLastOwner) {
  CountingSys sys;
  {
    Fd first(sys, static_cast<int>(sys.EventFd()));
    EXPECT_TRUE(first.valid());
    Fd second = std::move(first);
    EXPECT_FALSE(first.valid());
    Fd third(sys, static_cast<int>(sys.EventFd()));
    third = std::move(second);
    EXPECT_EQ(sys.closes, 1) << "what it had before";
    Fd& same = third;
    third = std::move(same);
    EXPECT_TRUE(third.valid());
  }
  EXPECT_EQ(sys.closes, 2);
  { Fd none; }
  EXPECT_EQ(sys.closes, 2);
}

TEST(MappingTest, MemoryIsZeroAndUnmappedOnce) {
  CountingSys sys;
  {
    auto mapping = Mapping::Private(sys, 1 << 16);
    ASSERT_TRUE(mapping.ok());
    ASSERT_EQ(mapping->bytes().size(), 1u << 16);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(mapping->bytes().data()) % 4096, 0u);
    for (const std::byte byte : mapping->bytes()) {
      ASSERT_EQ(byte, std::byte{0});
    }
    Mapping moved = *std::move(mapping);
    Mapping assigned;
    assigned = std::move(moved);
    EXPECT_EQ(assigned.bytes().size(), 1u << 16);
    EXPECT_EQ(sys.unmaps, 0);
  }
  EXPECT_EQ(sys.unmaps, 1);
}

TEST(MappingTest, RefusalIsResourceExhausted) {
  CountingSys sys;
  sys.refuse_maps = true;
  EXPECT_EQ(Mapping::Private(sys, 1 << 16).status().code(),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(sys.unmaps, 0);
}

TEST(SysTest, ReadDirectoryGivesTheNamesUpToTheBound) {
  const std::string directory = testing::TempDir() + "/names";
  Sys& sys = Sys::Real();
  ASSERT_EQ(sys.Mkdir(directory.c_str(), 0700), 0);
  for (const char* name : {"/a", "/b", "/c"}) {
    const int64_t fd =
        sys.Open((directory + name).c_str(), O_CREAT | O_WRONLY, 0600);
    ASSERT_GE(fd, 0);
    sys.Close(static_cast<int>(fd));
  }
  std::vector<std::string> names;
  EXPECT_EQ(sys.ReadDirectory(directory.c_str(), 10, &names), 3);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(sys.ReadDirectory(directory.c_str(), 2, &names), 2);
  EXPECT_EQ(names.size(), 5u);
  EXPECT_EQ(sys.ReadDirectory((directory + "/no").c_str(), 2, &names), -ENOENT);
}

}  // namespace
}  // namespace mycelium
