#include "mycelium/base/fork_guard.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "mycelium/base/fd.h"
#include "mycelium/base/own_descriptors.h"
#include "mycelium/base/sys.h"

namespace mycelium {
namespace {

// Whether `holds` is true in a child.
template <typename Holds>
bool HoldsInChild(Holds holds) {
  const pid_t child = fork();
  if (child == 0) _exit(holds() ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  return status == 0;
}

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) != -1; }

TEST(ForkGuardTest, OnlyAChildHasInherited) {
  const ForkGuard guard;
  EXPECT_FALSE(guard.is_inherited());
  EXPECT_TRUE(guard.Check("feed").ok());
  EXPECT_TRUE(HoldsInChild(
      [&] { return guard.is_inherited() && !ForkGuard().is_inherited(); }));
  EXPECT_FALSE(guard.is_inherited());
}

TEST(ForkGuardTest, GrandchildHasInheritedFromBoth) {
  const ForkGuard guard;
  EXPECT_TRUE(HoldsInChild([&] {
    const ForkGuard second;
    return HoldsInChild([&] {
      return guard.is_inherited() && second.is_inherited() &&
             !ForkGuard().is_inherited();
    });
  }));
}

TEST(ForkGuardTest, ErrorNamesTheNodeAndBothProcesses) {
  const ForkGuard guard;
  const std::string parent = std::to_string(getpid());
  EXPECT_TRUE(HoldsInChild([&] {
    const absl::Status status = guard.Check("feed");
    return status.code() == absl::StatusCode::kFailedPrecondition &&
           status.message() == "bus of node feed was made in process " +
                                   parent +
                                   ", before fork(), and cannot be used in "
                                   "process " +
                                   std::to_string(getpid()) +
                                   "; make buses after forking, or exec";
  }));
}

TEST(LeftInChildTest, OwnerIsDestroyedOnlyWhereItWasMade) {
  const auto object = std::make_shared<int>(7);
  {
    const LeftInChild<std::shared_ptr<int>> owner(object);
    EXPECT_TRUE(HoldsInChild([&] {
      { const LeftInChild<std::shared_ptr<int>> own(object); }
      return object.use_count() == 2;
    }));
  }
  EXPECT_EQ(object.use_count(), 1);
}

TEST(LeftInChildTest, OwnerThatIsOverwrittenInAChildIsLeft) {
  const auto object = std::make_shared<int>(7);
  LeftInChild<std::shared_ptr<int>> overwritten(object);
  auto destroyed = std::make_unique<LeftInChild<std::shared_ptr<int>>>(object);
  EXPECT_TRUE(HoldsInChild([&] {
    overwritten = LeftInChild<std::shared_ptr<int>>(std::make_shared<int>(8));
    destroyed = nullptr;
    return object.use_count() == 3 && *overwritten == 8 &&
           !overwritten.is_inherited();
  }));
}

TEST(OwnDescriptorsTest, ChildHasNoneOfThem) {
  Sys& sys = Sys::Real();
  const Fd event(sys, static_cast<int>(sys.EventFd()));
  const Fd socket(sys, static_cast<int>(sys.Socket(AF_UNIX, SOCK_STREAM)));
  const Fd file(sys, static_cast<int>(sys.Open("/dev/null", O_RDWR, 0)));
  ASSERT_TRUE(event.valid() && socket.valid() && file.valid());
  EXPECT_TRUE(HoldsInChild([&] {
    return !IsOpen(event.get()) && !IsOpen(socket.get()) && !IsOpen(file.get());
  }));
  EXPECT_TRUE(IsOpen(event.get()));
}

TEST(OwnDescriptorsTest, ChildKeepsThoseOfOthers) {
  Sys& sys = Sys::Real();
  const int closed = static_cast<int>(sys.EventFd());
  sys.Close(closed);
  // This has the number of a descriptor that was ours.
  const int theirs = open("/dev/null", O_RDWR);
  EXPECT_EQ(theirs, closed);
  EXPECT_TRUE(HoldsInChild([&] { return IsOpen(theirs); }));
  close(theirs);
}

TEST(OwnDescriptorsTest, ChildKeepsMemory) {
  Sys& sys = Sys::Real();
  const Fd memory(sys, static_cast<int>(sys.MemfdCreate("memory")));
  EXPECT_TRUE(HoldsInChild([&] { return IsOpen(memory.get()); }));
}

TEST(OwnDescriptorsTest, NumbersBeyondTheBoundAreNotRemembered) {
  EXPECT_EQ(AddOwnDescriptor(kOwnDescriptorsMax), kOwnDescriptorsMax);
  EXPECT_EQ(AddOwnDescriptor(-EMFILE), -EMFILE);
  RemoveOwnDescriptor(kOwnDescriptorsMax);
  RemoveOwnDescriptor(-EMFILE);
  const int theirs = open("/dev/null", O_RDWR);
  ASSERT_EQ(AddOwnDescriptor(theirs), theirs);
  EXPECT_TRUE(HoldsInChild([&] { return !IsOpen(theirs); }));
  RemoveOwnDescriptor(theirs);
  EXPECT_TRUE(HoldsInChild([&] { return IsOpen(theirs); }));
  close(theirs);
}

}  // namespace
}  // namespace mycelium
