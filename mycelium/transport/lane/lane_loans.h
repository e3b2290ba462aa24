#ifndef MYCELIUM_TRANSPORT_LANE_LANE_LOANS_H_
#define MYCELIUM_TRANSPORT_LANE_LANE_LOANS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "mycelium/base/biased_mutex.h"
#include "mycelium/base/mutex.h"
#include "mycelium/transport/lane/loan_memory.h"

namespace mycelium {

// What a lane that another process maps has lent: which of its frames refer to
// loans, and which memory the reader has mapped for that (docs/adr/0022).
//
// Invariants:
//  (1) A frame refers to a loan only while the reader of the lane reads it in
//      shared memory, and has said that it has mapped the loan's memory.
//  (2) A loan that a committed frame refers to is owned here until the reader
//      has released the frame, or TakeBackLocked() has put its bytes into the
//      frame.
//  (3) So nothing that is sent over a socket, or given to another process,
//      refers to a loan.
//  (4) A reader that is given up before it has released a frame may live, and
//      read on: what the frame refers to is then never written again, see
//      LoanMemory::Spoil().
//
// Thread safety: members called ...Locked() under the lane's lock, the others
// without it, from any thread.
//
// Ownership: borrows the lane's lock; shares loans.
class LaneLoans final {
 public:
  explicit LaneLoans(BiasedMutex& lane_mutex) : mutex_(lane_mutex) {}

  // What the reader has answered about a memory.
  enum class Answer {
    kNotAsked,
    kNo,  // Or none yet.
    kYes,
  };
  Answer AnswerFor(uint32_t memory) {
    MutexLock lock(mutex_);
    return AnswerLocked(memory);
  }
  Answer AnswerLocked(uint32_t memory) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // kNo at first, when the reader is asked.
  void SetAnswer(uint32_t memory, Answer answer) {
    MutexLock lock(mutex_);
    SetAnswerLocked(memory, answer);
  }
  void SetAnswerLocked(uint32_t memory, Answer answer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether the reader is to be asked now; from here on it is.
  bool AskLocked(uint32_t memory) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Memories whose answer is not kYes may be asked about again.
  void ForgetRefused();

  // A frame that is about to be committed: positions of the ring.
  struct Frame {
    uint64_t position;                  // Where it begins,
    uint64_t payload_at;                // its payload would be,
    uint64_t end;                       // and it ends.
    absl::Span<const std::byte> bytes;  // Of the loan.
    std::shared_ptr<const void> owner;
    LoanMemory* memory;  // Which `owner` owns, too.
  };
  void AddLocked(Frame frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Whether some frame may refer to a loan; a hint without the lock.
  bool any() const { return any_.load(std::memory_order_relaxed); }

  // The reader has released everything before that.
  void Finish(uint64_t released) {
    MutexLock lock(mutex_);
    FinishLocked(released);
  }
  void FinishLocked(uint64_t released) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Nobody reads the ring in shared memory any more: frames get the bytes that
  // they refer to, and the reader's answers are void. Part of a frame that
  // begins before `released` may be overwritten by now: such a frame gets
  // nothing.
  void TakeBackLocked(uint64_t released, absl::Span<std::byte> ring)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Nobody reads the ring any more but a reader that is given up.
  void GiveUp(uint64_t released);

 private:
  void SpoilLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  struct Asked {
    uint32_t memory;
    Answer answer;
  };

  BiasedMutex& mutex_;
  // From `first_` on, the oldest first; what comes before is over. Not a deque,
  // which allocates every few frames.
  std::vector<Frame> frames_ ABSL_GUARDED_BY(mutex_);
  size_t first_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Asked> asked_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> any_{false};
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_LANE_LOANS_H_
