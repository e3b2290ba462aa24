#include "mycelium/transport/local_socket/local_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <optional>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/base/event_loop_fakes.h"
#include "tests/support/driven_clock.h"
#include "tests/support/faulty_sys.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium {
namespace {

using ::absl::StatusCode;
using ::mycelium::test::DrivenClock;
using ::mycelium::test::DrivenWaiter;
using ::mycelium::test::FaultySys;
using ::mycelium::test::ShortTempDir;

bool Exists(const std::string& path) {
  struct stat found;
  return lstat(path.c_str(), &found) == 0;
}

// A socket file on which no process listens, as a killed process leaves it.
void LeaveStaleSocket(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(
      bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(close(fd), 0);
  ASSERT_TRUE(Exists(path));
}

class LocalSocketTest : public ::testing::Test {
 protected:
  StatusCode Listen(const std::string& path) {
    return ListenLocal(environment_, path).status().code();
  }

  ShortTempDir dir_;
  FaultySys sys_;
  Environment environment_{sys_, Environment::Real().clock,
                           Environment::Real().waiter};
};

TEST_F(LocalSocketTest, DialledConnectionIsAcceptedAndNamesItsPeer) {
  auto listener = ListenLocal(environment_, dir_.file("s"));
  ASSERT_TRUE(listener.ok()) << listener.status();
  auto none = AcceptLocal(environment_, *listener);
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->valid());
  auto dialled = DialLocal(environment_, dir_.file("s"));
  ASSERT_TRUE(dialled.ok()) << dialled.status();
  auto accepted = AcceptLocal(environment_, *listener);
  ASSERT_TRUE(accepted.ok());
  ASSERT_TRUE(accepted->valid());
  for (const int fd : {dialled->get(), accepted->get()}) {
    auto peer = PeerOf(environment_, fd);
    ASSERT_TRUE(peer.ok());
    EXPECT_EQ(peer->pid, getpid());
    EXPECT_EQ(peer->uid, geteuid());
  }
}

TEST_F(LocalSocketTest, StalePathIsReplaced) {
  LeaveStaleSocket(dir_.file("s"));
  auto listener = ListenLocal(environment_, dir_.file("s"));
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_TRUE(DialLocal(environment_, dir_.file("s")).ok());
}

TEST_F(LocalSocketTest, LivePathIsNeverReplaced) {
  auto first = ListenLocal(environment_, dir_.file("s"));
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(Listen(dir_.file("s")), StatusCode::kAlreadyExists);
  EXPECT_TRUE(DialLocal(environment_, dir_.file("s")).ok());
  // Whichever error the kernel gives when a process is there.
  for (const int64_t error : {-EAGAIN, -EACCES, -EPROTOTYPE}) {
    sys_.Fail("connect", {error});
    EXPECT_EQ(Listen(dir_.file("s")), StatusCode::kAlreadyExists);
  }
  EXPECT_TRUE(Exists(dir_.file("s")));
}

class OtherPidSys final : public Sys {
 public:
  int64_t GetPid() override { return Sys::GetPid() + 1; }
};

TEST_F(LocalSocketTest, WhoListensIsNamed) {
  auto first = ListenLocal(environment_, dir_.file("s"));
  ASSERT_TRUE(first.ok());
  const std::string where = "listen at " + dir_.file("s") + ": ";
  EXPECT_EQ(ListenLocal(environment_, dir_.file("s")).status().message(),
            where + "this process listens there already");
  OtherPidSys other;
  Environment elsewhere{other, environment_.clock, environment_.waiter};
  EXPECT_EQ(ListenLocal(elsewhere, dir_.file("s")).status().message(),
            where + "another process, with pid " + std::to_string(getpid()) +
                ", listens there");
}

TEST_F(LocalSocketTest, FileThatIsNoSocketIsLeftAlone) {
  std::ofstream(dir_.file("f")) << "precious";
  EXPECT_EQ(Listen(dir_.file("f")), StatusCode::kAlreadyExists);
  ASSERT_EQ(symlink("/nowhere", dir_.file("l").c_str()), 0);
  EXPECT_EQ(Listen(dir_.file("l")), StatusCode::kAlreadyExists);
  ASSERT_EQ(mkdir(dir_.file("d").c_str(), 0700), 0);
  EXPECT_EQ(Listen(dir_.file("d")), StatusCode::kAlreadyExists);
  std::string kept;
  std::ifstream(dir_.file("f")) >> kept;
  EXPECT_EQ(kept, "precious");
}

TEST_F(LocalSocketTest, PathMayHave107BytesAndNot108) {
  const std::string fits =
      dir_.file(std::string(kLocalPathBytesMax - dir_.path().size() - 1, 'p'));
  ASSERT_EQ(fits.size(), 107u);
  {
    auto listener = ListenLocal(environment_, fits);
    ASSERT_TRUE(listener.ok()) << listener.status();
    EXPECT_TRUE(DialLocal(environment_, fits).ok());
  }
  EXPECT_EQ(Listen(fits + "p"), StatusCode::kInvalidArgument);
  EXPECT_EQ(DialLocal(environment_, fits + "p").status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(Listen(""), StatusCode::kInvalidArgument);
  EXPECT_EQ(Listen(std::string("/tmp/a\0b", 8)), StatusCode::kInvalidArgument);
}

TEST_F(LocalSocketTest, MissingDirectoryIsUnavailable) {
  EXPECT_EQ(Listen(dir_.file("no/such")), StatusCode::kUnavailable);
}

TEST_F(LocalSocketTest, DiallingNobodyIsUnavailable) {
  EXPECT_EQ(DialLocal(environment_, dir_.file("s")).status().code(),
            StatusCode::kUnavailable);
  LeaveStaleSocket(dir_.file("s"));
  EXPECT_EQ(DialLocal(environment_, dir_.file("s")).status().code(),
            StatusCode::kUnavailable);
  sys_.Fail("connect", {-EAGAIN});  // Too many are waiting.
  EXPECT_EQ(DialLocal(environment_, dir_.file("s")).status().code(),
            StatusCode::kUnavailable);
}

TEST_F(LocalSocketTest, InterruptedConnectIsTriedAgain) {
  auto listener = ListenLocal(environment_, dir_.file("s"));
  sys_.Fail("connect", {-EINTR, -EINTR});
  EXPECT_TRUE(DialLocal(environment_, dir_.file("s")).ok());
  EXPECT_EQ(sys_.Left("connect"), 0u);
}

TEST_F(LocalSocketTest, AcceptTellsPassingTroubleFromLasting) {
  auto listener = ListenLocal(environment_, dir_.file("s"));
  for (const int64_t error : {-EAGAIN, -EINTR, -ECONNABORTED}) {
    sys_.Fail("accept", {error});
    auto accepted = AcceptLocal(environment_, *listener);
    ASSERT_TRUE(accepted.ok());
    EXPECT_FALSE(accepted->valid());
  }
  for (const int64_t error : {-EMFILE, -ENFILE, -ENOBUFS, -ENOMEM}) {
    sys_.Fail("accept", {error});
    EXPECT_EQ(AcceptLocal(environment_, *listener).status().code(),
              StatusCode::kResourceExhausted);
  }
}

TEST_F(LocalSocketTest, PathGoesAwayWithTheListener) {
  { auto listener = ListenLocal(environment_, dir_.file("s")); }
  EXPECT_FALSE(Exists(dir_.file("s")));
}

TEST_F(LocalSocketTest, PathOfSomebodyElseStaysAtTheEnd) {
  auto listener = std::make_optional(ListenLocal(environment_, dir_.file("s")));
  ASSERT_EQ(unlink(dir_.file("s").c_str()), 0);
  auto other = ListenLocal(environment_, dir_.file("s"));
  ASSERT_TRUE(other.ok());
  listener.reset();
  EXPECT_TRUE(Exists(dir_.file("s")));
  EXPECT_TRUE(DialLocal(environment_, dir_.file("s")).ok());
}

TEST_F(LocalSocketTest, FailedListenLeavesNothingBehindAndWaitsForNothing) {
  const TimeNs before = environment_.clock.NowNs();
  for (const char* call : {"listen", "bind", "socket"}) {
    sys_.Fail(call, {-ENOBUFS});
    EXPECT_EQ(Listen(dir_.file("s")), StatusCode::kResourceExhausted) << call;
    EXPECT_FALSE(Exists(dir_.file("s"))) << call;
  }
  EXPECT_LT(environment_.clock.NowNs() - before, 1'500'000'000)
      << "as long as a lock that is held by itself";
  EXPECT_TRUE(ListenLocal(environment_, dir_.file("s")).ok());
}

// A child that another thread forks in the middle of a start has a copy of the
// descriptor of the lock.
class CopyingSys final : public Sys {
 public:
  int64_t Flock(int fd, int operation) override {
    const int64_t locked = Sys::Flock(fd, operation);
    if (locked >= 0 && (operation & LOCK_EX) != 0) copies.push_back(dup(fd));
    return locked;
  }
  std::vector<int> copies;
};

TEST_F(LocalSocketTest, CopyOfItsDescriptorDoesNotKeepTheLock) {
  CopyingSys sys;
  Environment environment{sys, environment_.clock, environment_.waiter};
  { ASSERT_TRUE(ListenLocal(environment, dir_.file("s")).ok()); }
  EXPECT_FALSE(Exists(dir_.file("s")));
  ASSERT_EQ(sys.copies.size(), 2u);
  EXPECT_EQ(Listen(dir_.file("s")), StatusCode::kOk);
  for (const int copy : sys.copies) close(copy);
}

TEST_F(LocalSocketTest, LockThatIsNotGivenBackStopsAStartAndDelaysAnEnd) {
  DrivenClock clock;
  DrivenWaiter waiter(clock);
  Environment environment{sys_, clock, waiter};
  auto listener = std::make_optional(ListenLocal(environment, dir_.file("s")));
  ASSERT_TRUE((*listener).ok());
  const int held = open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(flock(held, LOCK_EX), 0);
  const TimeNs begin = clock.now;
  listener.reset();
  EXPECT_EQ(clock.now - begin, 200'000'000);
  EXPECT_TRUE(Exists(dir_.file("s")));
  EXPECT_EQ(ListenLocal(environment, dir_.file("s")).status().code(),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(clock.now - begin, 2'200'000'000);
  ASSERT_EQ(close(held), 0);
  EXPECT_TRUE(ListenLocal(environment, dir_.file("s")).ok());
}

TEST_F(LocalSocketTest, OfProcessesThatStartAtOnceExactlyOneWins) {
  constexpr int kRounds = 20;
  constexpr int kProcesses = 4;
  for (int round = 0; round < kRounds; ++round) {
    const std::string path = dir_.file("s" + std::to_string(round));
    LeaveStaleSocket(path);
    int start[2], results[2], finish[2];
    ASSERT_EQ(pipe(start) + pipe(results) + pipe(finish), 0);
    for (int process = 0; process < kProcesses; ++process) {
      if (fork() != 0) continue;
      char go;
      close(start[1]);
      close(finish[1]);
      (void)!read(start[0], &go, 1);  // Until all are there.
      auto listener = ListenLocal(environment_, path);
      const char won = listener.ok() ? 'w' : 'l';
      (void)!write(results[1], &won, 1);
      (void)!read(finish[0], &go, 1);  // A winner stays until all have tried.
      _exit(0);
    }
    close(start[0]);
    close(start[1]);
    int wins = 0;
    for (int process = 0; process < kProcesses; ++process) {
      char won = 0;
      ASSERT_EQ(read(results[0], &won, 1), 1);
      wins += won == 'w';
    }
    EXPECT_EQ(wins, 1) << "round " << round;
    for (const int fd : {results[0], results[1], finish[0], finish[1]}) {
      close(fd);
    }
    for (int process = 0; process < kProcesses; ++process) wait(nullptr);
  }
}

}  // namespace
}  // namespace mycelium
