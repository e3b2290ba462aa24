#include "mycelium/base/interest_list.h"

#include <unistd.h>

#include <cerrno>

#include "gtest/gtest.h"
#include "tests/support/faulty_sys.h"

namespace mycelium {
namespace {

using ::mycelium::test::FaultySys;

// A pipe that is readable at one end and writable at the other.
struct Pipe {
  Pipe() {
    EXPECT_EQ(pipe(fds), 0);
    EXPECT_EQ(write(fds[1], "x", 1), 1);
  }
  ~Pipe() {
    close(fds[0]);
    close(fds[1]);
  }
  int readable() const { return fds[0]; }
  int writable() const { return fds[1]; }
  int fds[2];
};

class InterestListTest : public ::testing::Test {
 protected:
  // How many descriptors are ready.
  int64_t Ready() {
    epoll_event events[8];
    return sys_.EpollWait(list_.fd(), events, 8, 0);
  }

  FaultySys sys_;
  InterestList list_{sys_, Fd(sys_, static_cast<int>(sys_.EpollCreate()))};
  Pipe pipe_;
};

TEST_F(InterestListTest, WhoIsOutIsNotReportedUntilPutBack) {
  ASSERT_TRUE(list_.Add(pipe_.readable(), EPOLLIN).ok());
  EXPECT_EQ(Ready(), 1);
  list_.TakeOut(pipe_.readable());
  list_.TakeOut(pipe_.readable());
  EXPECT_TRUE(list_.IsOut(pipe_.readable()));
  EXPECT_TRUE(list_.has_out());
  EXPECT_EQ(Ready(), 0);
  EXPECT_TRUE(list_.PutBack().ok());
  EXPECT_FALSE(list_.IsOut(pipe_.readable()));
  EXPECT_FALSE(list_.has_out());
  EXPECT_EQ(Ready(), 1);
}

TEST_F(InterestListTest, OneIsPutBackAlone) {
  Pipe other;
  ASSERT_TRUE(list_.Add(pipe_.readable(), EPOLLIN).ok());
  ASSERT_TRUE(list_.Add(other.readable(), EPOLLIN).ok());
  list_.TakeOut(pipe_.readable());
  list_.TakeOut(other.readable());
  EXPECT_TRUE(list_.PutBack(other.readable()).ok());
  EXPECT_TRUE(list_.PutBack(other.writable()).ok()) << "not watched";
  EXPECT_FALSE(list_.IsOut(other.readable()));
  EXPECT_TRUE(list_.IsOut(pipe_.readable()));
  EXPECT_TRUE(list_.has_out());
}

TEST_F(InterestListTest, WhoWaitsForRoomIsIn) {
  ASSERT_TRUE(list_.Add(pipe_.writable(), EPOLLIN | EPOLLOUT).ok());
  list_.TakeOut(pipe_.writable());
  EXPECT_FALSE(list_.IsOut(pipe_.writable()));
  EXPECT_TRUE(list_.Change(pipe_.writable(), EPOLLIN).ok());
  list_.TakeOut(pipe_.writable());
  EXPECT_TRUE(list_.IsOut(pipe_.writable()));
  EXPECT_TRUE(list_.Change(pipe_.writable(), EPOLLIN | EPOLLOUT).ok());
  EXPECT_FALSE(list_.IsOut(pipe_.writable()));
  EXPECT_EQ(Ready(), 1);
}

TEST_F(InterestListTest, WhoIsOutComesBackWithWhatItWaitsForByThen) {
  ASSERT_TRUE(list_.Add(pipe_.readable(), EPOLLIN).ok());
  list_.TakeOut(pipe_.readable());
  EXPECT_TRUE(list_.Change(pipe_.readable(), 0).ok());
  EXPECT_TRUE(list_.IsOut(pipe_.readable()));
  EXPECT_TRUE(list_.PutBack().ok());
  EXPECT_EQ(Ready(), 0);
  EXPECT_TRUE(list_.Change(pipe_.readable(), EPOLLIN).ok());
  EXPECT_EQ(Ready(), 1);
}

TEST_F(InterestListTest, WhoIsRemovedWhileOutDoesNotComeBack) {
  ASSERT_TRUE(list_.Add(pipe_.readable(), EPOLLIN).ok());
  list_.TakeOut(pipe_.readable());
  list_.Remove(pipe_.readable());
  list_.Remove(pipe_.readable());
  EXPECT_FALSE(list_.has_out());
  EXPECT_FALSE(list_.Change(pipe_.readable(), EPOLLIN).ok());
  EXPECT_TRUE(list_.PutBack().ok());
  EXPECT_EQ(Ready(), 0);
  ASSERT_TRUE(list_.Add(pipe_.readable(), EPOLLIN).ok());
  EXPECT_EQ(Ready(), 1);
}

TEST_F(InterestListTest, NobodyIsTakenOutOnceItIsPinned) {
  ASSERT_TRUE(list_.Add(pipe_.readable(), EPOLLIN).ok());
  list_.TakeOut(pipe_.readable());
  EXPECT_TRUE(list_.Pin().ok());
  EXPECT_EQ(Ready(), 1);
  list_.TakeOut(pipe_.readable());
  EXPECT_FALSE(list_.IsOut(pipe_.readable()));
}

TEST_F(InterestListTest, OnlyWhoIsRefusedStaysOut) {
  Pipe other;
  ASSERT_TRUE(list_.Add(pipe_.readable(), EPOLLIN).ok());
  ASSERT_TRUE(list_.Add(other.readable(), EPOLLIN).ok());
  list_.TakeOut(pipe_.readable());
  list_.TakeOut(other.readable());
  sys_.Fail("epoll_ctl", {-ENOMEM});
  EXPECT_FALSE(list_.PutBack().ok());
  EXPECT_EQ(Ready(), 1);
  EXPECT_TRUE(list_.has_out());
  EXPECT_TRUE(list_.PutBack().ok());
  EXPECT_EQ(Ready(), 2);
  EXPECT_FALSE(list_.has_out());
}

TEST_F(InterestListTest, WhoTheKernelKeepsIsIn) {
  ASSERT_TRUE(list_.Add(pipe_.readable(), EPOLLIN).ok());
  sys_.Fail("epoll_ctl", {-ENOENT});
  list_.TakeOut(pipe_.readable());
  EXPECT_FALSE(list_.has_out());
  EXPECT_EQ(Ready(), 1);
}

}  // namespace
}  // namespace mycelium
