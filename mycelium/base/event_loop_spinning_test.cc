// What the kernel watches while a loop spins, and that it watches everything
// again when a thread sleeps.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/base/event_loop_fakes.h"
#include "tests/support/driven_clock.h"
#include "tests/support/faulty_sys.h"

namespace mycelium {
namespace {

using Ran = EventLoop::Ran;
using Spinning = EventLoop::Spinning;

using ::mycelium::test::DrivenClock;
using ::mycelium::test::DrivenWaiter;
using ::mycelium::test::FakePoller;
using ::mycelium::test::FaultySys;
using ::mycelium::test::Readable;

constexpr int64_t kMs = 1'000'000;

// An end of a connection that reads for itself as well as when it is told to.
class Socket final : public EventLoop::Handler {
 public:
  Socket() {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds_), 0);
  }
  ~Socket() override {
    close(fds_[0]);
    PeerCloses();
  }
  void OnReady(uint32_t events) override {
    ++told;
    if ((events & EPOLLOUT) != 0) ++told_writable;
    Read();
  }
  bool Poll() override {
    if (on_poll != nullptr) on_poll();
    return Read();
  }
  void PeerSends() { EXPECT_EQ(write(fds_[1], "x", 1), 1); }
  void PeerCloses() {
    if (fds_[1] >= 0) close(std::exchange(fds_[1], -1));
  }
  int fd() const { return fds_[0]; }

  std::function<void()> on_poll, on_end;
  int told = 0;
  int told_writable = 0;
  std::atomic<int> got{0};
  int ends = 0;

 private:
  bool Read() {
    char byte;
    const ssize_t count = read(fds_[0], &byte, 1);
    if (count < 0) return false;
    if (count > 0) ++got;
    if (count == 0) ++ends;
    if (count == 0 && on_end != nullptr) on_end();
    return true;
  }

  int fds_[2];
};

class EventLoopSpinningTest : public ::testing::Test {
 protected:
  std::unique_ptr<EventLoop> MakeLoop() {
    return *EventLoop::Create(
        environment_, [this](LogLevel, absl::string_view message) {
          log_.emplace_back(message.data(), message.size());
        });
  }
  // Each look takes a microsecond.
  template <typename Handler>
  void WatchAlone(Handler& handler) {
    handler.on_poll = [this] { clock_.now += 1'000; };
    ASSERT_TRUE(loop_->Watch(handler.fd(), EPOLLIN, handler).ok());
    loop_->SetSpinning(handler.fd(), Spinning::kAlone);
  }
  Ran Spin(int64_t ns = kMs) {
    return loop_->RunOnce(clock_.now + ns, /*spin_ns=*/kNever);
  }
  // Watches the socket, and has it taken out of what the kernel watches.
  void TakeOut(Socket& socket) {
    WatchAlone(socket);
    const uint64_t calls = ControlCalls();
    EXPECT_EQ(Spin(3 * kMs), Ran::kNothing);
    EXPECT_GT(ControlCalls(), calls);
  }
  uint64_t ControlCalls() { return sys_.counts()["epoll_ctl"]; }

  FaultySys sys_;
  DrivenClock clock_;
  DrivenWaiter waiter_{clock_};
  Environment environment_{sys_, clock_, waiter_};
  std::vector<std::string> log_;
  std::unique_ptr<EventLoop> loop_ = MakeLoop();
};

bool IsReadable(int fd) {
  pollfd watched = {fd, POLLIN, 0};
  return poll(&watched, 1, 0) == 1;
}

TEST_F(EventLoopSpinningTest, WhoLooksAloneIsNotWatchedIfTheLoopSpinsForEver) {
  Readable alone, beside;  // Neither finds what the kernel knows of.
  WatchAlone(alone);
  ASSERT_TRUE(loop_->Watch(beside.fd(), EPOLLIN, beside).ok());
  for (int turn = 1; turn <= 5; ++turn) {
    EXPECT_EQ(Spin(), Ran::kSomething);
    EXPECT_EQ(beside.calls, turn);
  }
  EXPECT_EQ(alone.calls, 0);
  loop_->SetSpinning(alone.fd(), Spinning::kBeside);
  EXPECT_EQ(Spin(), Ran::kSomething);
  EXPECT_EQ(alone.calls, 1);
}

TEST_F(EventLoopSpinningTest, WhoNoLongerSpinsIsWatchedAgain) {
  Readable readable;
  WatchAlone(readable);
  EXPECT_EQ(Spin(3 * kMs), Ran::kNothing);
  FakePoller poller;  // So that time goes on.
  poller.on_poll = [&] { clock_.now += 1'000; };
  loop_->AddPoller(poller);
  loop_->SetSpinning(readable.fd(), Spinning::kNot);
  const int polls = readable.polls;
  EXPECT_EQ(Spin(), Ran::kSomething);
  EXPECT_EQ(readable.calls, 1);
  EXPECT_EQ(readable.polls, polls);
}

TEST_F(EventLoopSpinningTest, MessagesOfASpinningLoopCostNoCallOfTheKernels) {
  Socket socket;
  TakeOut(socket);
  const uint64_t calls = ControlCalls();
  for (int i = 1; i <= 5'000; ++i) {
    socket.PeerSends();
    EXPECT_EQ(Spin(), Ran::kSomething);
    EXPECT_EQ(socket.got, i);
  }
  EXPECT_EQ(ControlCalls(), calls);
  EXPECT_EQ(socket.told, 0);
}

TEST_F(EventLoopSpinningTest, SleepingLoopIsWokenByWhoWasOut) {
  Socket socket;
  TakeOut(socket);
  waiter_.on_wait = [&] {
    if (waiter_.deadlines.back() == kNever) socket.PeerSends();
  };
  EXPECT_EQ(loop_->RunOnce(kNever, /*spin_ns=*/0), Ran::kSomething);
  EXPECT_EQ(socket.told, 1);
  EXPECT_EQ(socket.got, 1);
}

TEST_F(EventLoopSpinningTest, MessageThatComesBeforeTheSleepEndsIt) {
  Socket socket;
  TakeOut(socket);
  // After the last look, before the socket is put back.
  FakePoller poller;
  poller.on_look = [&] { socket.PeerSends(); };
  loop_->AddPoller(poller);
  EXPECT_EQ(loop_->RunOnce(kNever, /*spin_ns=*/0), Ran::kSomething);
  EXPECT_EQ(waiter_.deadlines.back(), kNever) << "it meant to sleep";
  EXPECT_EQ(socket.told, 1);
}

TEST_F(EventLoopSpinningTest, SpellThatEndsPutsBackBeforeItSleeps) {
  Socket socket;
  TakeOut(socket);
  waiter_.on_wait = [&] {
    if (waiter_.deadlines.back() > 0) socket.PeerSends();
  };
  EXPECT_EQ(loop_->RunOnce(clock_.now + 9 * kMs, /*spin_ns=*/50'000),
            Ran::kSomething);
  EXPECT_EQ(socket.told, 1);
}

TEST_F(EventLoopSpinningTest, SpellThatEndsTakesOutWhoFoundMuchOnly) {
  Readable busy, quiet;
  WatchAlone(busy);
  WatchAlone(quiet);
  busy.on_poll = [&] { clock_.now += 5'000; };
  busy.found_at_poll = 0;  // 200 in a millisecond; the other finds none.
  const auto run_for = [&](int64_t ns) {
    const TimeNs end = clock_.now + ns;
    while (clock_.now < end) loop_->RunOnce(kNever, /*spin_ns=*/50'000);
  };
  run_for(4 * kMs);
  const int calls = busy.calls;
  EXPECT_GT(calls, 0) << "it was in until it had found much";
  const int others = quiet.calls;
  run_for(10 * kMs);
  EXPECT_EQ(busy.calls, calls);
  EXPECT_GE(quiet.calls, others + 9);
}

TEST_F(EventLoopSpinningTest, SpellThatSleptIsNotWorthTakingOut) {
  Socket socket;
  WatchAlone(socket);
  const uint64_t calls = ControlCalls();
  // Much work in each millisecond, and a sleep.
  for (int turn = 0; turn < 20; ++turn) {
    for (int i = 0; i < 150; ++i) {
      socket.PeerSends();
      clock_.now += 5'000;
      EXPECT_EQ(loop_->RunOnce(kNever, /*spin_ns=*/50'000), Ran::kSomething);
    }
    EXPECT_EQ(loop_->RunOnce(clock_.now + kMs, /*spin_ns=*/50'000),
              Ran::kNothing);
  }
  EXPECT_EQ(ControlCalls(), calls);
}

TEST_F(EventLoopSpinningTest, TakesOutAtMostOnceAMillisecond) {
  Socket socket;
  TakeOut(socket);
  const TimeNs begin = clock_.now;
  const uint64_t calls = ControlCalls();
  for (int turn = 0; turn < 1'000; ++turn) {
    loop_->RunOnce(clock_.now + 1, /*spin_ns=*/0);  // A sleep.
    Spin(10'000);
  }
  const auto periods = static_cast<uint64_t>((clock_.now - begin) / kMs);
  EXPECT_GE(ControlCalls(), calls + periods);
  EXPECT_LE(ControlCalls(), calls + 2 * (periods + 1));
}

TEST_F(EventLoopSpinningTest, EndOfAConnectionIsSeenByWhoIsOut) {
  Socket socket;
  TakeOut(socket);
  socket.on_end = [&] { loop_->Unwatch(socket.fd()); };
  socket.PeerCloses();
  EXPECT_EQ(Spin(), Ran::kSomething);
  EXPECT_EQ(loop_->RunOnce(clock_.now + kMs, /*spin_ns=*/0), Ran::kNothing);
  EXPECT_EQ(socket.ends, 1);
  EXPECT_EQ(socket.told, 0);
}

TEST_F(EventLoopSpinningTest, WhoIsUnwatchedWhileOutIsLeftAlone) {
  Socket socket;
  TakeOut(socket);
  loop_->Unwatch(socket.fd());
  EXPECT_FALSE(loop_->Rewatch(socket.fd(), EPOLLIN).ok());
  socket.PeerSends();
  EXPECT_EQ(loop_->RunOnce(clock_.now + kMs, /*spin_ns=*/0), Ran::kNothing);
  EXPECT_EQ(socket.got, 0);
  // Watched anew, the socket is in.
  ASSERT_TRUE(loop_->Watch(socket.fd(), EPOLLIN, socket).ok());
  EXPECT_EQ(loop_->RunOnce(kNever, /*spin_ns=*/0), Ran::kSomething);
  EXPECT_EQ(socket.told, 1);
}

TEST_F(EventLoopSpinningTest, WhoWaitsForRoomIsTold) {
  Socket socket;
  TakeOut(socket);
  std::thread([&] {  // As a publisher's thread.
    EXPECT_TRUE(loop_->Rewatch(socket.fd(), EPOLLIN | EPOLLOUT).ok());
  })
      .join();
  EXPECT_EQ(Spin(3 * kMs), Ran::kSomething);
  EXPECT_EQ(socket.told_writable, 1);
  // When the socket waits no longer, it goes out again.
  EXPECT_TRUE(loop_->Rewatch(socket.fd(), EPOLLIN).ok());
  EXPECT_EQ(Spin(3 * kMs), Ran::kNothing);
  const int told = socket.told;
  const uint64_t calls = ControlCalls();
  socket.PeerSends();
  EXPECT_EQ(Spin(), Ran::kSomething);
  EXPECT_EQ(Spin(3 * kMs), Ran::kNothing);
  EXPECT_EQ(socket.told, told);
  EXPECT_EQ(ControlCalls(), calls);
}

TEST_F(EventLoopSpinningTest, WhoWaitsForNothingWhileOutIsPutBackSo) {
  Socket socket;
  TakeOut(socket);
  EXPECT_TRUE(loop_->Rewatch(socket.fd(), 0).ok());
  socket.PeerSends();
  EXPECT_EQ(loop_->RunOnce(clock_.now + kMs, /*spin_ns=*/0), Ran::kNothing);
  EXPECT_TRUE(loop_->Rewatch(socket.fd(), EPOLLIN).ok());
  EXPECT_EQ(loop_->RunOnce(kNever, /*spin_ns=*/0), Ran::kSomething);
  EXPECT_EQ(socket.told, 1);
}

TEST_F(EventLoopSpinningTest, DescriptorThatIsShownShowsWhoWasOut) {
  Socket socket;
  TakeOut(socket);
  socket.PeerSends();
  int descriptor = -1;
  std::thread([&] { descriptor = loop_->descriptor(); }).join();
  EXPECT_TRUE(IsReadable(descriptor));
  EXPECT_EQ(loop_->RunOnce(0, /*spin_ns=*/0), Ran::kSomething);
  EXPECT_EQ(socket.got, 1);
  EXPECT_FALSE(IsReadable(descriptor));
  // No socket goes out from here on.
  EXPECT_EQ(Spin(5 * kMs), Ran::kNothing);
  socket.PeerSends();
  EXPECT_TRUE(IsReadable(descriptor));
}

TEST_F(EventLoopSpinningTest, PollerWithEndlessWorkKeepsNobodyWaiting) {
  Socket socket;
  TakeOut(socket);
  FakePoller poller;
  poller.work = 1 << 30;
  poller.on_poll = [&] { clock_.now += 1'000; };
  loop_->AddPoller(poller);
  socket.PeerSends();
  const TimeNs end = clock_.now + 2 * kMs;
  while (clock_.now < end) Spin();
  EXPECT_EQ(socket.got, 1);
}

TEST_F(EventLoopSpinningTest, LoopThatCannotPutBackDoesNotSleepForLong) {
  Socket socket, other;
  WatchAlone(other);
  TakeOut(socket);
  // The first of the two sockets fails twice; the other one is put back.
  sys_.Fail("epoll_ctl", {-ENOMEM});
  waiter_.on_wait = [&] { sys_.Fail("epoll_ctl", {-ENOSPC}); };
  TimeNs begin = clock_.now;
  EXPECT_EQ(loop_->RunOnce(begin + 99 * kMs, /*spin_ns=*/0), Ran::kNothing);
  EXPECT_EQ(waiter_.deadlines.back(), begin + kMs);
  waiter_.on_wait = [&] {
    socket.PeerSends();
    other.PeerSends();
  };
  begin = clock_.now;
  EXPECT_EQ(loop_->RunOnce(begin + 99 * kMs, /*spin_ns=*/0), Ran::kSomething);
  EXPECT_EQ(waiter_.deadlines.back(), begin + kMs);
  EXPECT_EQ(socket.got + other.got, 2);
  EXPECT_EQ(socket.told + other.told, 1);
  ASSERT_EQ(log_.size(), 1u) << "once, not each time";
  EXPECT_NE(log_[0].find("epoll_ctl add: Cannot allocate memory"),
            std::string::npos)
      << log_[0];
  // When there is memory again, the loop sleeps again.
  waiter_.on_wait = nullptr;
  begin = clock_.now;
  EXPECT_EQ(loop_->RunOnce(begin + 99 * kMs, /*spin_ns=*/0), Ran::kNothing);
  EXPECT_EQ(waiter_.deadlines.back(), begin + 99 * kMs);
  EXPECT_EQ(log_.size(), 1u);
}

TEST_F(EventLoopSpinningTest, WhoNoLongerSpinsAndIsRefusedIsStillLookedAt) {
  Socket socket;
  TakeOut(socket);
  FakePoller poller;  // So that time goes on.
  poller.on_poll = [&] { clock_.now += 1'000; };
  loop_->AddPoller(poller);
  sys_.Fail("epoll_ctl", {-ENOMEM});
  loop_->SetSpinning(socket.fd(), Spinning::kNot);
  socket.PeerSends();
  EXPECT_EQ(Spin(), Ran::kSomething);
  EXPECT_EQ(socket.got, 1);
  EXPECT_EQ(socket.told, 0);
}

TEST_F(EventLoopSpinningTest, DescriptorIsReadableUntilAllArePutBack) {
  Socket socket;
  TakeOut(socket);
  sys_.Fail("epoll_ctl", {-ENOMEM, -ENOMEM});
  const int descriptor = loop_->descriptor();
  EXPECT_TRUE(IsReadable(descriptor));
  loop_->RunOnce(0, /*spin_ns=*/0);
  EXPECT_TRUE(IsReadable(descriptor));
  EXPECT_EQ(log_.size(), 1u);
  loop_->RunOnce(0, /*spin_ns=*/0);
  loop_->RunOnce(0, /*spin_ns=*/0);  // The last wake-up is read.
  EXPECT_FALSE(IsReadable(descriptor));
  socket.PeerSends();
  EXPECT_TRUE(IsReadable(descriptor));
}

TEST_F(EventLoopSpinningTest, WhoCannotBeToldOfRoomHearsThat) {
  Socket socket;
  TakeOut(socket);
  sys_.Fail("epoll_ctl", {-ENOMEM});
  EXPECT_EQ(loop_->Rewatch(socket.fd(), EPOLLIN | EPOLLOUT).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(EventLoopSpinningConcurrentTest, NoMessageIsLostOnTheWayToASleep) {
  // Each message waits for the one before, so that a lost one stops the test.
  constexpr int kMessages = 2'000;
  constexpr int64_t kLongNs = 20'000'000'000;
  Environment& environment = Environment::Real();
  auto loop = *EventLoop::Create(environment);
  Socket socket;
  ASSERT_TRUE(loop->Watch(socket.fd(), EPOLLIN, socket).ok());
  loop->SetSpinning(socket.fd(), Spinning::kAlone);
  const TimeNs deadline = environment.clock.NowNs() + kLongNs;
  std::atomic<bool> gave_up{false};
  std::thread sending([&] {
    for (int i = 1; i <= kMessages && !gave_up; ++i) {
      socket.PeerSends();
      if (i % 3 == 0) {
        EXPECT_TRUE(loop->Rewatch(socket.fd(), EPOLLIN | EPOLLOUT).ok());
        EXPECT_TRUE(loop->Rewatch(socket.fd(), EPOLLIN).ok());
      }
      while (socket.got < i && !gave_up) std::this_thread::yield();
    }
  });
  // In turn a spin as long as it takes to go out, and a sleep.
  TimeNs awake_until = 0;
  while (socket.got < kMessages && environment.clock.NowNs() < deadline) {
    const TimeNs now = environment.clock.NowNs();
    if (now < awake_until) {
      loop->RunOnce(awake_until, /*spin_ns=*/kNever);
      continue;
    }
    loop->RunOnce(deadline, /*spin_ns=*/0);
    awake_until = environment.clock.NowNs() + 3 * kMs / 2;
  }
  EXPECT_EQ(socket.got, kMessages);
  gave_up = true;
  sending.join();
}

}  // namespace
}  // namespace mycelium
