// ShmWriter and ShmReader, in one process and in two.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/base/fd.h"
#include "mycelium/base/memory_seals.h"
#include "mycelium/base/sys.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/transport/shm/shm_reader.h"
#include "mycelium/transport/shm/shm_writer.h"
#include "tests/support/faulty_sys.h"

namespace mycelium {
namespace {

constexpr size_t kCapacity = 4096;
constexpr size_t kMessageBytes = 128;
// What a message of so many takes. They leave a pad at the ring's end.
constexpr size_t kFrameBytes =
    AlignedFrameBytes(sizeof(FrameHeader) + kMessageBytes);
static_assert(kCapacity % kFrameBytes != 0);

// A message of `bytes` that starts with its number.
std::vector<std::byte> Message(uint64_t number, size_t bytes = kMessageBytes) {
  std::vector<std::byte> message(bytes, static_cast<std::byte>(number));
  std::memcpy(message.data(), &number, std::min(bytes, sizeof number));
  return message;
}

bool IsMessage(absl::Span<const std::byte> got, uint64_t number, size_t bytes) {
  const std::vector<std::byte> expected = Message(number, bytes);
  return got.size() == bytes &&
         std::memcmp(got.data(), expected.data(), bytes) == 0;
}

ShmReader ReaderOf(const ShmWriter& writer) {
  Sys& sys = Sys::Real();
  const std::array<int, 2> descriptors = writer.descriptors();
  absl::StatusOr<ShmReader> reader = ShmReader::Open(
      Fd(sys, dup(descriptors[0])), Fd(sys, dup(descriptors[1])));
  EXPECT_TRUE(reader.ok()) << reader.status();
  return *std::move(reader);
}

ShmWriter MakeWriter(size_t capacity = kCapacity) {
  absl::StatusOr<ShmWriter> writer = ShmWriter::Create(capacity);
  EXPECT_TRUE(writer.ok()) << writer.status();
  return *std::move(writer);
}

// Memory that a caller provides.
struct OwnMemory {
  alignas(64) std::array<std::byte, kCapacity> ring;
  alignas(64) std::array<std::byte, ShmWriter::kPositionsBytes> positions;
};

TEST(ShmRingTest, MessagesArriveOnceAndInOrderWithTheirPositions) {
  ShmWriter writer = MakeWriter();
  ShmReader reader = ReaderOf(writer);
  absl::Span<const std::byte> got;
  EXPECT_FALSE(reader.Poll(&got));
  for (uint64_t number = 1; number <= 1000; ++number) {
    const size_t bytes = 8 + number % 300;
    ASSERT_TRUE(writer.TryWrite(Message(number, bytes)));
    ASSERT_TRUE(reader.Poll(&got)) << reader.error();
    EXPECT_TRUE(IsMessage(got, number, bytes));
    EXPECT_EQ(reader.position(), writer.position());
    EXPECT_EQ(reader.sequence(), number);
    reader.Release();
    EXPECT_EQ(writer.released(), reader.position());
  }
  EXPECT_EQ(writer.sequence(), 1000u);
  EXPECT_FALSE(reader.Poll(&got));
  EXPECT_TRUE(reader.error().ok());
}

TEST(ShmRingTest, FullRingTakesNothingUntilRoomIsReleased) {
  ShmWriter writer = MakeWriter();
  ShmReader reader = ReaderOf(writer);
  uint64_t written = 0;
  while (writer.TryWrite(Message(written + 1))) ++written;
  EXPECT_EQ(written, (kCapacity - kFrameAlignment) / kFrameBytes);
  EXPECT_TRUE(writer.error().ok());
  absl::Span<const std::byte> got;
  // Two messages, since the pad at the end of the ring takes room too.
  ASSERT_TRUE(reader.Poll(&got));
  reader.Release();
  EXPECT_FALSE(writer.TryWrite(Message(written + 1)));
  ASSERT_TRUE(reader.Poll(&got));
  EXPECT_FALSE(writer.TryWrite(Message(written + 1)));
  reader.Release();
  EXPECT_TRUE(writer.TryWrite(Message(written + 1)));
  uint64_t read = 2;
  for (; reader.Poll(&got); reader.Release()) {
    EXPECT_TRUE(IsMessage(got, ++read, kMessageBytes));
  }
  EXPECT_EQ(read, written + 1);
}

TEST(ShmRingTest, ClaimIsInvisibleUntilItIsCommitted) {
  ShmWriter writer = MakeWriter();
  ShmReader reader = ReaderOf(writer);
  absl::Span<const std::byte> got;
  absl::Span<std::byte> room = writer.TryClaim(16);
  ASSERT_EQ(room.size(), 16u);
  std::memset(room.data(), 0x11, room.size());
  EXPECT_FALSE(reader.Poll(&got));
  room = writer.TryClaim(8);  // The first one is forgotten.
  ASSERT_EQ(room.size(), 8u);
  std::memset(room.data(), 0x22, room.size());
  writer.Commit();
  writer.Commit();  // There is no claim: nothing happens.
  ASSERT_TRUE(reader.Poll(&got));
  EXPECT_EQ(got.size(), 8u);
  EXPECT_EQ(got[0], std::byte{0x22});
  EXPECT_FALSE(reader.Poll(&got));
  EXPECT_EQ(writer.sequence(), 1u);
}

TEST(ShmRingTest, LargestMessageFitsAndOneByteMoreDoesNot) {
  ShmWriter writer = MakeWriter();
  ShmReader reader = ReaderOf(writer);
  const size_t most = writer.message_bytes_max();
  EXPECT_EQ(most, kCapacity / 2 - sizeof(FrameHeader));
  EXPECT_FALSE(writer.TryWrite(Message(1, most + 1)));
  EXPECT_TRUE(writer.TryClaim(most + 1).empty());
  for (uint64_t number = 1; number <= 10; ++number) {
    ASSERT_TRUE(writer.TryWrite(Message(number, most)));
    absl::Span<const std::byte> got;
    ASSERT_TRUE(reader.Poll(&got));
    EXPECT_TRUE(IsMessage(got, number, most));
    reader.Release();
  }
}

TEST(ShmRingTest, EmptyMessageIsAMessage) {
  ShmWriter writer = MakeWriter();
  ShmReader reader = ReaderOf(writer);
  ASSERT_TRUE(writer.TryWrite({}));
  absl::Span<const std::byte> got = Message(7);
  ASSERT_TRUE(reader.Poll(&got));
  EXPECT_TRUE(got.empty());
}

TEST(ShmRingTest, NextReaderGetsWhatTheLastHadNotReleased) {
  ShmWriter writer = MakeWriter();
  absl::Span<const std::byte> got;
  {
    ShmReader first = ReaderOf(writer);
    for (uint64_t number = 1; number <= 3; ++number) {
      ASSERT_TRUE(writer.TryWrite(Message(number)));
      ASSERT_TRUE(first.Poll(&got));
      if (number == 1) first.Release();
    }
  }
  ShmReader second = ReaderOf(writer);
  for (uint64_t number = 2; number <= 3; ++number) {
    ASSERT_TRUE(second.Poll(&got)) << second.error();
    EXPECT_TRUE(IsMessage(got, number, kMessageBytes));
    EXPECT_EQ(second.sequence(), number);
  }
  EXPECT_FALSE(second.Poll(&got));
}

TEST(ShmRingTest, GivenMemoryServesAsWell) {
  auto memory = std::make_unique<OwnMemory>();
  memory->ring.fill(std::byte{0xFF});
  auto writer = ShmWriter::CreateIn(absl::MakeSpan(memory->ring),
                                    absl::MakeSpan(memory->positions));
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_EQ(writer->descriptors()[0], -1);
  auto reader = ShmReader::OpenIn(absl::MakeConstSpan(memory->ring),
                                  absl::MakeSpan(memory->positions));
  ASSERT_TRUE(reader.ok()) << reader.status();
  ASSERT_TRUE(writer->TryWrite(Message(1)));
  absl::Span<const std::byte> got;
  ASSERT_TRUE(reader->Poll(&got));
  EXPECT_TRUE(IsMessage(got, 1, kMessageBytes));
  EXPECT_GE(got.data(), memory->ring.data());
}

TEST(ShmRingTest, BadSizesAreRefused) {
  constexpr auto kBad = absl::StatusCode::kInvalidArgument;
  for (const size_t bytes :
       {size_t{0}, size_t{2048}, kCapacity + 8, size_t{1} << 31}) {
    EXPECT_EQ(ShmWriter::Create(bytes).status().code(), kBad) << bytes;
  }
  auto memory = std::make_unique<OwnMemory>();
  const auto ring = absl::MakeSpan(memory->ring);
  const auto positions = absl::MakeSpan(memory->positions);
  EXPECT_EQ(ShmWriter::CreateIn(ring.subspan(8), positions).status().code(),
            kBad);
  EXPECT_EQ(ShmWriter::CreateIn(ring, positions.subspan(64)).status().code(),
            kBad);
  EXPECT_EQ(ShmReader::OpenIn(ring, positions.subspan(64)).status().code(),
            kBad);
  EXPECT_EQ(ShmReader::OpenIn(ring.subspan(8), positions).status().code(),
            kBad);
}

TEST(ShmRingTest, MemoryThatIsNotAlignedIsRefused) {
  constexpr auto kBad = absl::StatusCode::kInvalidArgument;
  struct Larger {
    alignas(64) std::array<std::byte, kCapacity + 64> ring;
    alignas(
        64) std::array<std::byte, ShmWriter::kPositionsBytes + 64> positions;
  };
  auto memory = std::make_unique<Larger>();
  for (const auto& [ring_at, positions_at] :
       {std::pair<size_t, size_t>{8, 0}, std::pair<size_t, size_t>{0, 8}}) {
    const auto ring = absl::MakeSpan(memory->ring).subspan(ring_at, kCapacity);
    const auto positions =
        absl::MakeSpan(memory->positions)
            .subspan(positions_at, ShmWriter::kPositionsBytes);
    EXPECT_EQ(ShmWriter::CreateIn(ring, positions).status().code(), kBad);
    EXPECT_EQ(ShmReader::OpenIn(ring, positions).status().code(), kBad);
  }
}

// What starts there would lie across the end of the memory.
TEST(ShmRingTest, PositionOfTheLastReaderIsChecked) {
  auto memory = std::make_unique<OwnMemory>();
  ASSERT_TRUE(ShmWriter::CreateIn(absl::MakeSpan(memory->ring),
                                  absl::MakeSpan(memory->positions))
                  .ok());
  // Its commit word, and the rest of its header.
  for (const uint64_t released :
       {kCapacity - 2, kCapacity - kFrameAlignment / 2}) {
    std::memcpy(memory->positions.data(), &released, sizeof released);
    EXPECT_EQ(ShmReader::OpenIn(absl::MakeConstSpan(memory->ring),
                                absl::MakeSpan(memory->positions))
                  .status()
                  .code(),
              absl::StatusCode::kInvalidArgument)
        << released;
  }
}

TEST(ShmRingTest, ReaderWithoutAddressesSaysSo) {
  const ShmWriter writer = MakeWriter();
  const std::array<int, 2> descriptors = writer.descriptors();
  test::FaultySys sys;
  sys.Fail("map", {-ENOMEM});
  EXPECT_EQ(ShmReader::Open(Fd(sys, dup(descriptors[0])),
                            Fd(sys, dup(descriptors[1])), sys)
                .status()
                .code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(ShmRingTest, DescriptorsThatAreNoRingAreRefused) {
  Sys& sys = Sys::Real();
  const ShmWriter writer = MakeWriter();
  const std::array<int, 2> good = writer.descriptors();
  // Not sealed, too small, swapped, a pipe.
  Fd unsealed(sys, static_cast<int>(sys.MemfdCreate("unsealed")));
  ASSERT_GE(sys.Reserve(unsealed.get(), kCapacity), 0);
  EXPECT_EQ(ShmReader::Open(std::move(unsealed), Fd(sys, dup(good[1])))
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  Fd empty(sys, static_cast<int>(sys.MemfdCreate("empty")));
  EXPECT_EQ(
      ShmReader::Open(std::move(empty), Fd(sys, dup(good[1]))).status().code(),
      absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ShmReader::Open(Fd(sys, dup(good[1])), Fd(sys, dup(good[0])))
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(ShmReader::Open(Fd(sys, ends[0]), Fd(sys, ends[1])).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ShmRingTest, WhatIsWrongWithADescriptorHasItsCode) {
  Sys& sys = Sys::Real();
  const ShmWriter writer = MakeWriter();
  const std::array<int, 2> good = writer.descriptors();
  const auto code_of = [&](Fd ring, Fd positions) {
    return ShmReader::Open(std::move(ring), std::move(positions))
        .status()
        .code();
  };
  EXPECT_EQ(code_of(Fd(), Fd(sys, dup(good[1]))), absl::StatusCode::kInternal);
  EXPECT_EQ(code_of(Fd(sys, dup(good[0])), Fd()),
            absl::StatusCode::kInvalidArgument);
  Fd sealed(sys, static_cast<int>(sys.MemfdCreate("sealed")));
  ASSERT_GE(sys.Reserve(sealed.get(), ShmWriter::kPositionsBytes), 0);
  ASSERT_EQ(sys.AddSeals(sealed.get(), kSealsOfSizeAndWriting), 0);
  EXPECT_EQ(code_of(Fd(sys, dup(good[0])), std::move(sealed)),
            absl::StatusCode::kPermissionDenied);
}

TEST(ShmRingTest, WriterNoticesAReaderThatIsMad) {
  for (const uint64_t position :
       {uint64_t{1} << 40, uint64_t{kFrameAlignment / 2}}) {
    auto memory = std::make_unique<OwnMemory>();
    auto writer = ShmWriter::CreateIn(absl::MakeSpan(memory->ring),
                                      absl::MakeSpan(memory->positions));
    uint64_t written = 0;
    while (writer->TryWrite(Message(1))) ++written;
    ASSERT_TRUE(writer->error().ok());
    std::memcpy(memory->positions.data(), &position, sizeof position);
    for (int i = 0; i < 100; ++i) EXPECT_FALSE(writer->TryWrite(Message(1)));
    EXPECT_EQ(writer->error().code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(writer->sequence(), written);
  }
}

TEST(ShmRingTest, WriterNoticesAReaderThatTakesBackWhatItReleased) {
  auto memory = std::make_unique<OwnMemory>();
  auto writer = ShmWriter::CreateIn(absl::MakeSpan(memory->ring),
                                    absl::MakeSpan(memory->positions));
  while (writer->TryWrite(Message(1))) continue;
  const auto reader_says = [&](uint64_t position) {
    std::memcpy(memory->positions.data(), &position, sizeof position);
  };
  reader_says(2 * kFrameBytes);
  ASSERT_TRUE(writer->TryWrite(Message(1)));
  reader_says(kFrameBytes);
  while (writer->TryWrite(Message(1))) continue;
  EXPECT_EQ(writer->error().code(), absl::StatusCode::kDataLoss);
}

TEST(ShmRingTest, ReaderNoticesWhatIsNoMessage) {
  // The sequence, the length, the flags of the second message.
  for (const size_t offset : {size_t{8}, size_t{0}, size_t{4}}) {
    auto memory = std::make_unique<OwnMemory>();
    auto writer = ShmWriter::CreateIn(absl::MakeSpan(memory->ring),
                                      absl::MakeSpan(memory->positions));
    auto reader = ShmReader::OpenIn(absl::MakeConstSpan(memory->ring),
                                    absl::MakeSpan(memory->positions));
    ASSERT_TRUE(writer->TryWrite(Message(1)));
    ASSERT_TRUE(writer->TryWrite(Message(2)));
    absl::Span<const std::byte> got;
    ASSERT_TRUE(reader->Poll(&got));
    memory->ring[kFrameBytes + offset] = std::byte{0x07};
    EXPECT_FALSE(reader->Poll(&got));
    EXPECT_EQ(reader->error().code(), absl::StatusCode::kDataLoss) << offset;
    EXPECT_EQ(reader->position(), kFrameBytes);
    EXPECT_FALSE(reader->Poll(&got));
  }
}

TEST(ShmRingTest, MessageOfAnotherSequenceBehindAPadIsSaidToBeWhereItIs) {
  auto memory = std::make_unique<OwnMemory>();
  auto writer = ShmWriter::CreateIn(absl::MakeSpan(memory->ring),
                                    absl::MakeSpan(memory->positions));
  auto reader = ShmReader::OpenIn(absl::MakeConstSpan(memory->ring),
                                  absl::MakeSpan(memory->positions));
  const uint64_t lap = memory->ring.size();
  absl::Span<const std::byte> got;
  uint64_t number = 0;
  while (writer->position() + kFrameBytes <= lap) {
    ASSERT_TRUE(writer->TryWrite(Message(++number)));
    ASSERT_TRUE(reader->Poll(&got));
    reader->Release();
  }
  ASSERT_LT(reader->position(), lap) << "there is a pad";
  ASSERT_TRUE(writer->TryWrite(Message(++number)));
  memory->ring[8] = std::byte{0x07};
  EXPECT_FALSE(reader->Poll(&got));
  EXPECT_EQ(reader->position(), lap);
  EXPECT_THAT(std::string(reader->error().message()),
              ::testing::HasSubstr(absl::StrCat("lies at position ", lap)));
}

static_assert(!std::is_copy_constructible_v<ShmWriter>);
static_assert(std::is_move_constructible_v<ShmWriter>);

TEST(ShmRingTest, NothingEntersTheKernelAfterItWasMade) {
  test::FaultySys sys;  // It counts calls.
  auto writer = ShmWriter::Create(kCapacity, sys);
  ASSERT_TRUE(writer.ok()) << writer.status();
  const std::array<int, 2> descriptors = writer->descriptors();
  auto reader = ShmReader::Open(Fd(sys, dup(descriptors[0])),
                                Fd(sys, dup(descriptors[1])), sys);
  ASSERT_TRUE(reader.ok()) << reader.status();
  const test::FaultySys::Counts before = sys.counts();
  absl::Span<const std::byte> got;
  for (uint64_t number = 1; number <= 10'000; ++number) {
    while (!writer->TryWrite(Message(number))) {
      while (reader->Poll(&got)) reader->Release();
    }
  }
  EXPECT_EQ(sys.counts(), before);
}

TEST(ShmRingTest, TwoThreadsOverOneRing) {
  constexpr uint64_t kMessages = 200'000;
  ShmWriter writer = MakeWriter();
  ShmReader reader = ReaderOf(writer);
  std::thread writing([&] {
    for (uint64_t number = 1; number <= kMessages; ++number) {
      while (!writer.TryWrite(Message(number, 8 + number % 100))) {
        std::this_thread::yield();
      }
    }
  });
  uint64_t wrong = 0;
  for (uint64_t number = 1; number <= kMessages && wrong == 0; ++number) {
    absl::Span<const std::byte> got;
    while (!reader.Poll(&got) && reader.error().ok()) {
      std::this_thread::yield();
    }
    wrong += IsMessage(got, number, 8 + number % 100) ? 0 : 1;
    reader.Release();
  }
  writing.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(reader.position(), writer.position());
}

// Runs `body` in a child, which has the parent's descriptors but not its
// mappings, and returns how the child ended.
template <typename Body>
pid_t InChild(Body body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  return child;
}

int StatusOf(pid_t child) {
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

TEST(ShmRingTest, AnotherProcessReads) {
  constexpr uint64_t kMessages = 100'000;
  ShmWriter writer = MakeWriter(1 << 16);
  const pid_t child = InChild([&] {
    ShmReader reader = ReaderOf(writer);
    for (uint64_t number = 1; number <= kMessages; ++number) {
      absl::Span<const std::byte> got;
      while (!reader.Poll(&got)) {
        if (!reader.error().ok()) return 1;
        std::this_thread::yield();
      }
      if (!IsMessage(got, number, 8 + number % 500)) return 2;
      reader.Release();
    }
    return reader.sequence() == kMessages ? 0 : 3;
  });
  for (uint64_t number = 1; number <= kMessages; ++number) {
    while (!writer.TryWrite(Message(number, 8 + number % 500))) {
      std::this_thread::yield();
    }
  }
  EXPECT_EQ(StatusOf(child), 0);
  EXPECT_EQ(writer.released(), writer.position());
}

TEST(ShmRingTest, NextProcessReadsOnAfterTheLastWasKilled) {
  ShmWriter writer = MakeWriter(1 << 16);
  for (uint64_t number = 1; number <= 100; ++number) {
    ASSERT_TRUE(writer.TryWrite(Message(number)));
  }
  // The reader releases half of them, takes one more, and dies.
  const pid_t killed = InChild([&] {
    ShmReader reader = ReaderOf(writer);
    absl::Span<const std::byte> got;
    for (int i = 0; i < 50; ++i) (void)reader.Poll(&got);
    reader.Release();
    (void)reader.Poll(&got);
    (void)kill(getpid(), SIGKILL);
    return 1;
  });
  EXPECT_TRUE(WIFSIGNALED(StatusOf(killed)));
  const pid_t next = InChild([&] {
    ShmReader reader = ReaderOf(writer);
    absl::Span<const std::byte> got;
    for (uint64_t number = 51; number <= 100; ++number) {
      if (!reader.Poll(&got) || !IsMessage(got, number, kMessageBytes))
        return 1;
      reader.Release();
    }
    return reader.Poll(&got) ? 2 : 0;
  });
  EXPECT_EQ(StatusOf(next), 0);
  EXPECT_EQ(writer.released(), writer.position());
}

TEST(ShmRingTest, ChildReadsOnWhenItHasDroppedWhatItInherited) {
  auto writer = std::make_unique<ShmWriter>(MakeWriter(1 << 16));
  auto inherited = std::make_unique<ShmReader>(ReaderOf(*writer));
  ASSERT_TRUE(writer->TryWrite(Message(1)));
  const pid_t child = InChild([&] {
    Sys& sys = Sys::Real();
    const std::array<int, 2> descriptors = writer->descriptors();
    // Maps where the inherited mappings were.
    auto reader =
        ShmReader::Open(Fd(sys, descriptors[0]), Fd(sys, descriptors[1]));
    if (!reader.ok()) return 1;
    // A number that is free again, for what the writer may not close.
    const int other = dup(STDERR_FILENO);
    writer.reset();
    inherited.reset();
    absl::Span<const std::byte> got;
    if (!reader->Poll(&got) || !IsMessage(got, 1, kMessageBytes)) return 2;
    reader->Release();
    return fcntl(other, F_GETFD) < 0 ? 3 : 0;
  });
  EXPECT_EQ(StatusOf(child), 0);
  EXPECT_EQ(writer->released(), writer->position());
}

}  // namespace
}  // namespace mycelium
