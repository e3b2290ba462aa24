#include "tests/benchmark/floors/spsc_ring.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/status/status.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/pinned_run.h"

namespace mycelium::bench {
namespace {

// A position that one side writes and the other reads, and a flag: with it the
// reader of the position says that it sleeps until the next write.
struct Position {
  alignas(64) std::atomic<uint64_t> bytes;
  alignas(64) std::atomic<uint32_t> awaited;
};

struct RingHeader {
  Position head;  // Written by the writer.
  Position tail;  // Written by the reader.
};

// How long a side that finds nothing new leaves the position alone. A look at
// once would take the cache line from the writing side, message by message, and
// cost most of the rate. By time, because how long a pause of the CPU takes
// differs tenfold between models.
constexpr int64_t kBetweenLooksNs = 1000;

// Room for a few messages, whatever their size.
size_t CapacityFor(const Case& what) {
  size_t capacity = 64;
  while (capacity < what.ring_bytes || capacity < 4 * what.bytes) capacity *= 2;
  return capacity;
}

// The common part of both sides: each publishes one position and follows the
// other.
class RingSide {
 public:
  RingSide(Stage& stage, const Case& what)
      : header_(static_cast<RingHeader*>(stage.shared())),
        memory_(static_cast<char*>(stage.shared()) + sizeof(RingHeader)),
        capacity_(CapacityFor(what)),
        bytes_(what.bytes),
        sleeps_(what.wait == Wait::kBlock) {}

  int64_t syscalls() const { return syscalls_; }

 protected:
  void Publish(Position* position, uint64_t value) {
    // Pairs with the acquire loads in Follow(): a side that sees the position
    // sees what was copied before.
    position->bytes.store(value, std::memory_order_release);
    if (!sleeps_) return;
    // Pairs with the fence in Follow(): one of the two sides sees the other's
    // store, so a sleeper is either woken or does not go to sleep.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (position->awaited.load(std::memory_order_relaxed) == 0) return;
    position->awaited.store(0, std::memory_order_relaxed);
    Futex(position, FUTEX_WAKE, 1);
  }

  // Waits until `position` is not `seen` any more and returns it.
  uint64_t Follow(Position* position, uint64_t seen) {
    uint64_t value;
    while ((value = position->bytes.load(std::memory_order_acquire)) == seen) {
      if (!sleeps_) {
        SpinUntil(NowNs() + kBetweenLooksNs);
        continue;
      }
      position->awaited.store(1, std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_seq_cst);
      if (position->bytes.load(std::memory_order_relaxed) != seen) continue;
      Futex(position, FUTEX_WAIT, 1);
    }
    return value;
  }

  // A message at `position` may be split at the end of the memory: the length
  // of its first piece, which is usually all of it.
  size_t FirstPiece(uint64_t position) const {
    return std::min<size_t>(bytes_, capacity_ - (position & (capacity_ - 1)));
  }

  RingHeader* const header_;
  char* const memory_;
  const size_t capacity_;
  const size_t bytes_;

 private:
  void Futex(Position* position, int operation, uint32_t value) {
    ++syscalls_;
    syscall(SYS_futex, &position->awaited, operation, value, nullptr, nullptr,
            0);
  }

  const bool sleeps_;
  int64_t syscalls_ = 0;
};

class Writer final : public RingSide {
 public:
  using RingSide::RingSide;

  void Write(const char* bytes) {
    while (head_ + bytes_ > tail_ + capacity_) {
      tail_ = Follow(&header_->tail, tail_);
    }
    const size_t first = FirstPiece(head_);
    std::memcpy(memory_ + (head_ & (capacity_ - 1)), bytes, first);
    if (first < bytes_) std::memcpy(memory_, bytes + first, bytes_ - first);
    head_ += bytes_;
    Publish(&header_->head, head_);
  }

 private:
  uint64_t head_ = 0;
  uint64_t tail_ = 0;  // As last seen.
};

class Reader final : public RingSide {
 public:
  using RingSide::RingSide;

  void Read(char* bytes) {
    // Only whole messages are published, so any change is at least one.
    if (head_ == tail_) head_ = Follow(&header_->head, head_);
    const size_t first = FirstPiece(tail_);
    std::memcpy(bytes, memory_ + (tail_ & (capacity_ - 1)), first);
    if (first < bytes_) std::memcpy(bytes + first, memory_, bytes_ - first);
    tail_ += bytes_;
    if (tail_ - published_ < capacity_ / 8) return;
    published_ = tail_;
    Publish(&header_->tail, tail_);
  }

 private:
  uint64_t head_ = 0;  // As last seen.
  uint64_t tail_ = 0;
  uint64_t published_ = 0;
};

absl::Status Lost() { return absl::AbortedError("the other side gave up"); }

absl::Status WriteAll(Stage& stage, const Case& what) {
  Writer writer(stage, what);
  std::vector<char> bytes(what.bytes, 'x');
  if (!stage.Meet()) return Lost();
  for (int64_t i = 0; i < what.warm_up; ++i) writer.Write(bytes.data());
  if (!stage.Begin()) return Lost();
  const int64_t syscalls = writer.syscalls();
  stage.MarkFirst(NowNs());
  for (int64_t i = 0; i < what.messages; ++i) {
    // At the end of the message: if it wraps, the number is in its second
    // piece.
    std::memcpy(&bytes[bytes.size() - sizeof i], &i, sizeof i);
    writer.Write(bytes.data());
  }
  stage.End();
  stage.AddSyscalls(writer.syscalls() - syscalls);
  return absl::OkStatus();
}

absl::Status ReadAll(Stage& stage, const Case& what) {
  Reader reader(stage, what);
  std::vector<char> bytes(what.bytes);
  if (!stage.Meet()) return Lost();
  for (int64_t i = 0; i < what.warm_up; ++i) reader.Read(bytes.data());
  if (!stage.Begin()) return Lost();
  const int64_t syscalls = reader.syscalls();
  int64_t in_order = 0;
  for (int64_t i = 0; i < what.messages; ++i) {
    reader.Read(bytes.data());
    Consume(bytes.data());
    int64_t number;
    std::memcpy(&number, &bytes[bytes.size() - sizeof number], sizeof number);
    in_order += number == i ? 1 : 0;
  }
  const int64_t last_ns = NowNs();
  stage.End();
  stage.MarkLast(last_ns, what.messages);
  stage.AddSyscalls(reader.syscalls() - syscalls);
  if (in_order == what.messages) return absl::OkStatus();
  return absl::DataLossError("messages out of order");
}

}  // namespace

bool SpscRingFloor::Supports(const Case& what) const {
  return (what.transport == "inproc" || what.transport == "shm") &&
         what.mode == Mode::kFlood && what.kind == Kind::kRaw;
}

absl::StatusOr<RoundResult> SpscRingFloor::Run(const Case& what,
                                               const CpuPair& cpus) {
  PinnedRun run;
  run.sharing = what.transport == "inproc" ? PinnedRun::Sharing::kThreads
                                           : PinnedRun::Sharing::kProcesses;
  run.cpus = {cpus.first, cpus.second};
  run.deadline_ms = what.deadline_ms;
  run.shared_bytes = sizeof(RingHeader) + CapacityFor(what);
  run.roles = {[&](Stage& stage) { return WriteAll(stage, what); },
               [&](Stage& stage) { return ReadAll(stage, what); }};
  return RunPinned(run);
}

}  // namespace mycelium::bench
