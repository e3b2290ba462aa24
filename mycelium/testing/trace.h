#ifndef MYCELIUM_TESTING_TRACE_H_
#define MYCELIUM_TESTING_TRACE_H_

#include <array>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mycelium/base/clock.h"

namespace mycelium {

// The kinds of events in a simulated world.
enum class Happening {
  kTurn,  // A thread runs.
  kTimePasses,
  kConnect,
  kNobody,  // A connect that finds nobody, or no way.
  kAccept,
  kSend,
  kReceive,
  kEnd,  // A receive that finds the connection over.
  // Faults that the kernel makes.
  kRefuse,  // A connect that fails.
  kDelay,   // Bytes that take longer than usual.
  kShortWrite,
  kShortRead,
  kWouldBlock,  // A send for which there is no room.
  kInterrupt,
  kCut,
  kPartition,
  kHeal,
  // What the driver does and sees.
  kPublish,
  kPublishFails,
  kDeliver,
  kStart,
  kReturnInTime,  // A start within `retain` after the last end.
  kReturnLate,
  kCrash,
  kLeave,
  kStop,
  kContinue,
  kSlow,
  kUnsubscribe,
  kDisconnect,  // By an overflow policy.
  kDrift,
  kVersion,  // A start with another version of the message type.
  kCall,
  kConnection,  // An event that a bus reports.
  // Events of channels that gather.
  kGather,     // A batch of what was sent while another was under way.
  kBatchFull,  // A send for which the batch has no room.
  kLast = kBatchFull,
};

absl::string_view WordOf(Happening what);

// Everything that happened in a simulated world: a hash that two equal runs
// have in common, and how often each kind of event occurred.
//
// Thread safety: none.
class Trace final {
 public:
  static constexpr size_t kKinds = static_cast<size_t>(Happening::kLast) + 1;
  using Printer = std::function<void(absl::string_view line)>;

  // `who`: a place, or -1 for the world.
  void Note(TimeNs now, Happening what, int who, uint64_t a = 0,
            uint64_t b = 0) {
    for (const uint64_t word :
         {static_cast<uint64_t>(now), static_cast<uint64_t>(what),
          static_cast<uint64_t>(who), a, b}) {
      hash_ = (hash_ ^ word) * 0x9e3779b97f4a7c15;
      hash_ ^= hash_ >> 29;
    }
    ++events_;
    ++counts_[static_cast<size_t>(what)];
    if (printer_ != nullptr) Print(now, what, who, a, b);
  }

  // Prints every event from now on, which costs far more than the event.
  void PrintTo(Printer printer) { printer_ = std::move(printer); }
  bool prints() const { return printer_ != nullptr; }
  void Remark(absl::string_view text) {
    if (printer_ != nullptr) printer_(absl::StrCat("  ", text));
  }

  uint64_t hash() const { return hash_; }
  uint64_t events() const { return events_; }
  // The events that are more than a thread's turn or the passing of time.
  uint64_t happenings() const {
    return events_ - count(Happening::kTurn) - count(Happening::kTimePasses);
  }
  uint64_t count(Happening what) const {
    return counts_[static_cast<size_t>(what)];
  }

 private:
  void Print(TimeNs now, Happening what, int who, uint64_t a, uint64_t b);

  uint64_t hash_ = 0;
  uint64_t events_ = 0;
  std::array<uint64_t, kKinds> counts_ = {};
  Printer printer_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TESTING_TRACE_H_
