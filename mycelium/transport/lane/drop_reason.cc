#include "mycelium/transport/lane/drop_reason.h"

namespace mycelium {

absl::string_view DropReasonWord(DropReason reason) {
  switch (reason) {
    case DropReason::kNoSubscriber:
      return "no_subscriber";
    case DropReason::kSubscriberGone:
      return "subscriber_gone";
    case DropReason::kShutdown:
      return "shutdown";
    case DropReason::kUndecodable:
      return "undecodable";
    case DropReason::kSchemaMismatch:
      return "schema_mismatch";
    case DropReason::kOverflow:
      return "overflow";
    case DropReason::kOverflowBytes:
      return "overflow_bytes";
    case DropReason::kPoison:
      return "poison";
    case DropReason::kRefused:
      return "refused";
    case DropReason::kTooLarge:
      return "too_large";
  }
  return "unknown";
}

}  // namespace mycelium
