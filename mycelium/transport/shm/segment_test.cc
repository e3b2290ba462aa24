#include "mycelium/transport/shm/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "gtest/gtest.h"
#include "mycelium/base/memory_seals.h"
#include "tests/support/cgroup_sys.h"
#include "tests/support/faulty_sys.h"

namespace mycelium {
namespace {

using ::mycelium::test::FaultySys;

constexpr size_t kBytes = 4096;

class SegmentTest : public ::testing::Test {
 protected:
  Fd Copy(const Segment& segment) {
    return Fd(sys_, fcntl(segment.descriptor(), F_DUPFD_CLOEXEC, 0));
  }
  FaultySys sys_;
};

TEST_F(SegmentTest, WhatOneSideWritesTheOtherReads) {
  auto made = Segment::Create(sys_, Segment::Kind::kRing, kBytes);
  ASSERT_TRUE(made.ok()) << made.status();
  auto mapped = Segment::Map(sys_, Segment::Kind::kRing, Copy(*made), kBytes);
  ASSERT_TRUE(mapped.ok()) << mapped.status();
  made->bytes()[17] = std::byte{4};
  EXPECT_EQ(mapped->bytes()[17], std::byte{4});
}

TEST_F(SegmentTest, NoSideFaultsPagesInLater) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "each access faults a page of the shadow in, too";
#endif
  constexpr size_t kPages = 1024;
  const auto faults = [] {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
  };
  auto made = Segment::Create(sys_, Segment::Kind::kRing, kPages * kBytes);
  ASSERT_TRUE(made.ok()) << made.status();
  auto mapped =
      Segment::Map(sys_, Segment::Kind::kRing, Copy(*made), kPages * kBytes);
  ASSERT_TRUE(mapped.ok()) << mapped.status();
  const long before = faults();
  for (size_t page = 0; page < kPages; ++page) {
    made->bytes()[page * kBytes] = std::byte{1};
  }
  const long written = faults();
  size_t ones = 0;
  for (size_t page = 0; page < kPages; ++page) {
    if (mapped->bytes()[page * kBytes] == std::byte{1}) ++ones;
  }
  const long read = faults();
  EXPECT_EQ(ones, kPages);
  // Other threads of this process may fault too. The kernel maps 16 pages at a
  // time for a thread that only reads.
  EXPECT_LT(written - before, static_cast<long>(kPages / 32));
  EXPECT_LT(read - written, static_cast<long>(kPages / 32));
}

TEST_F(SegmentTest, RingCannotBeMappedForWritingNorChangedInSize) {
  auto made = Segment::Create(sys_, Segment::Kind::kRing, kBytes);
  const Fd copy = Copy(*made);
  EXPECT_EQ(
      mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, copy.get(), 0),
      MAP_FAILED);
  EXPECT_NE(ftruncate(copy.get(), 0), 0);
  EXPECT_NE(ftruncate(copy.get(), 2 * kBytes), 0);
  EXPECT_NE(pwrite(copy.get(), "x", 1, 0), 1);
}

TEST_F(SegmentTest, UnsealedMemoryAndOtherSizesAreRefused) {
  for (const int seals : {0, F_SEAL_SHRINK, F_SEAL_GROW,
                          F_SEAL_SHRINK | F_SEAL_GROW, kSealsOfSize}) {
    Fd fd(sys_, static_cast<int>(sys_.MemfdCreate("test")));
    ASSERT_EQ(sys_.Reserve(fd.get(), kBytes), 0);
    ASSERT_EQ(sys_.AddSeals(fd.get(), seals), 0);
    EXPECT_EQ(Segment::Map(sys_, Segment::Kind::kRing, std::move(fd), kBytes)
                  .status()
                  .code(),
              absl::StatusCode::kInvalidArgument)
        << seals;
  }
  auto made = Segment::Create(sys_, Segment::Kind::kRing, kBytes);
  EXPECT_FALSE(
      Segment::Map(sys_, Segment::Kind::kRing, Copy(*made), 2 * kBytes).ok());
}

TEST_F(SegmentTest, RenewedOneStaysAtItsAddressAndOutOfTheOldOnesReach) {
  auto made = Segment::Create(sys_, Segment::Kind::kPositions, kBytes);
  auto old = Segment::Map(sys_, Segment::Kind::kPositions, Copy(*made), kBytes);
  ASSERT_TRUE(old.ok());
  const std::byte* const address = made->bytes().data();
  made->bytes()[0] = std::byte{1};
  ASSERT_TRUE(
      made->Renew([](absl::Span<std::byte> fresh) { fresh[1] = std::byte{2}; })
          .ok());
  EXPECT_EQ(made->bytes().data(), address);
  EXPECT_EQ(made->bytes()[0], std::byte{0});
  EXPECT_EQ(made->bytes()[1], std::byte{2});
  old->bytes()[1] = std::byte{9};
  EXPECT_EQ(made->bytes()[1], std::byte{2});
}

// Also of memory that is too much to be mapped in at once.
TEST_F(SegmentTest, AllPagesAreReservedWhenItIsMade) {
  constexpr int64_t kMuch = 128 << 20;
  auto made = Segment::Create(sys_, Segment::Kind::kRing, kMuch);
  if (made.status().code() == absl::StatusCode::kResourceExhausted) {
    GTEST_SKIP() << "there is no such memory: " << made.status();
  }
  ASSERT_TRUE(made.ok()) << made.status();
  struct stat found;
  ASSERT_EQ(fstat(made->descriptor(), &found), 0);
  EXPECT_GE(found.st_blocks * 512, kMuch);
}

// A peer does not make us pay for memory that it has only announced.
TEST_F(SegmentTest, PagesThatWereNotReservedAreNotMadeByWhoMapsThem) {
  constexpr size_t kMuch = 8 << 20;
  Fd sparse(sys_, static_cast<int>(sys_.MemfdCreate("sparse")));
  ASSERT_EQ(ftruncate(sparse.get(), kMuch), 0);
  ASSERT_EQ(sys_.AddSeals(sparse.get(), kSealsOfSizeAndWriting), 0);
  const Fd same(sys_, fcntl(sparse.get(), F_DUPFD_CLOEXEC, 0));
  auto mapped =
      Segment::Map(sys_, Segment::Kind::kRing, std::move(sparse), kMuch);
  ASSERT_TRUE(mapped.ok()) << mapped.status();
  struct stat found;
  ASSERT_EQ(fstat(same.get(), &found), 0);
  EXPECT_EQ(found.st_blocks, 0);
}

// Reserving beyond the limit would end the process.
TEST(SegmentInAGroupTest, MemoryLimitIsAnError) {
  test::CgroupSys sys;
  sys.SetMemory(/*limit=*/20 << 20, /*used=*/14 << 20);
  EXPECT_TRUE(Segment::Create(sys, Segment::Kind::kRing, kBytes).ok());
  const auto refused = Segment::Create(sys, Segment::Kind::kRing, 4 << 20);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(sys.counts().at("reserve"), 1u) << "it was not tried";
}

TEST_F(SegmentTest, RenewalThatFailsIsOutOfTheOldOnesReachAsWell) {
  const auto fill = [](absl::Span<std::byte> fresh) {
    EXPECT_EQ(fresh[0], std::byte{0});
    fresh[1] = std::byte{2};
  };
  for (const char* const call : {"memfd_create", "reserve", "map_over"}) {
    auto made = Segment::Create(sys_, Segment::Kind::kPositions, kBytes);
    auto old =
        Segment::Map(sys_, Segment::Kind::kPositions, Copy(*made), kBytes);
    ASSERT_TRUE(old.ok());
    made->bytes()[0] = std::byte{1};
    sys_.Fail(call, {-ENOMEM});
    EXPECT_FALSE(made->Renew(fill).ok()) << call;
    EXPECT_EQ(made->bytes()[0], std::byte{0}) << call;
    EXPECT_EQ(made->bytes()[1], std::byte{2}) << call;
    EXPECT_EQ(made->descriptor(), -1) << call;
    old->bytes()[1] = std::byte{9};
    EXPECT_EQ(made->bytes()[1], std::byte{2}) << call;
    // As soon as there is memory again it can be shared.
    EXPECT_TRUE(made->Renew(fill).ok()) << call;
    EXPECT_NE(made->descriptor(), -1) << call;
  }
}

TEST_F(SegmentTest, RenewalWithoutAnyMemoryChangesNothing) {
  auto made = Segment::Create(sys_, Segment::Kind::kPositions, kBytes);
  made->bytes()[0] = std::byte{1};
  sys_.Fail("map_over", {-ENOMEM, -ENOMEM});
  EXPECT_FALSE(made->Renew([](absl::Span<std::byte>) {}).ok());
  EXPECT_EQ(made->bytes()[0], std::byte{1});
  EXPECT_NE(made->descriptor(), -1);
}

TEST_F(SegmentTest, EachStepThatFailsLeavesNothing) {
  for (const char* const call :
       {"memfd_create", "reserve", "map", "dontfork", "add_seals"}) {
    const size_t mapped = sys_.mapped();
    sys_.Fail(call, {-ENOMEM});
    EXPECT_EQ(
        Segment::Create(sys_, Segment::Kind::kRing, kBytes).status().code(),
        absl::StatusCode::kResourceExhausted)
        << call;
    EXPECT_EQ(sys_.mapped(), mapped) << call;
  }
}

// Its descriptor is of this process. The child opens that number anew, and owns
// it from then on.
TEST(SegmentInAChildTest, WhatTheChildHasWhereTheSegmentWasStays) {
  Sys& sys = Sys::Real();
  auto made = Segment::Create(sys, Segment::Kind::kRing, kBytes);
  ASSERT_TRUE(made.ok()) << made.status();
  const pid_t child = fork();
  if (child == 0) {
    Fd own(sys, made->descriptor());
    void* const there = made->bytes().data();
    void* const mapped = mmap(there, kBytes, PROT_READ,
                              MAP_SHARED | MAP_FIXED_NOREPLACE, own.get(), 0);
    if (mapped != there) _exit(1);
    { const Segment dropped = *std::move(made); }
    // An error, where an access would be a signal.
    if (msync(there, kBytes, MS_ASYNC) != 0) _exit(2);
    struct stat found;
    _exit(sys.Fstat(own.get(), &found) == 0 ? 0 : 3);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace mycelium
