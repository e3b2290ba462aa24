#include "mycelium/testing/trace.h"

#include "absl/strings/str_format.h"

namespace mycelium {

absl::string_view WordOf(Happening what) {
  switch (what) {
    case Happening::kTurn:
      return "turn";
    case Happening::kTimePasses:
      return "time";
    case Happening::kConnect:
      return "connect";
    case Happening::kNobody:
      return "nobody";
    case Happening::kRefuse:
      return "refuse";
    case Happening::kAccept:
      return "accept";
    case Happening::kSend:
      return "send";
    case Happening::kReceive:
      return "receive";
    case Happening::kEnd:
      return "end";
    case Happening::kDelay:
      return "delay";
    case Happening::kShortWrite:
      return "short_write";
    case Happening::kShortRead:
      return "short_read";
    case Happening::kWouldBlock:
      return "would_block";
    case Happening::kInterrupt:
      return "interrupt";
    case Happening::kCut:
      return "cut";
    case Happening::kPartition:
      return "partition";
    case Happening::kHeal:
      return "heal";
    case Happening::kPublish:
      return "publish";
    case Happening::kPublishFails:
      return "publish_fails";
    case Happening::kDeliver:
      return "deliver";
    case Happening::kStart:
      return "start";
    case Happening::kReturnInTime:
      return "return_in_time";
    case Happening::kReturnLate:
      return "return_late";
    case Happening::kCrash:
      return "crash";
    case Happening::kLeave:
      return "leave";
    case Happening::kStop:
      return "stop";
    case Happening::kContinue:
      return "continue";
    case Happening::kSlow:
      return "slow";
    case Happening::kUnsubscribe:
      return "unsubscribe";
    case Happening::kDisconnect:
      return "disconnect";
    case Happening::kVersion:
      return "version";
    case Happening::kDrift:
      return "drift";
    case Happening::kCall:
      return "call";
    case Happening::kConnection:
      return "connection";
    case Happening::kGather:
      return "gather";
    case Happening::kBatchFull:
      return "batch_full";
  }
  return "?";
}

void Trace::Print(TimeNs now, Happening what, int who, uint64_t a, uint64_t b) {
  if (what == Happening::kTurn || what == Happening::kTimePasses) return;
  printer_(absl::StrFormat("%12.6f ms  %2d  %-14s %d %d",
                           static_cast<double>(now) / 1e6, who, WordOf(what), a,
                           b));
}

}  // namespace mycelium
