#ifndef MYCELIUM_TRANSPORT_LANE_DROP_REASON_H_
#define MYCELIUM_TRANSPORT_LANE_DROP_REASON_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace mycelium {

// Why an accepted message was not delivered.
enum class DropReason {
  kNoSubscriber,    // Nobody was subscribed when it was published.
  kSubscriberGone,  // The subscription ended, or its process died.
  kShutdown,        // This node shut down before it could be handed over.
  kUndecodable,     // Not what its type says, or damaged in shared memory.
  kSchemaMismatch,  // The types of the two sides differ.
  kOverflow,        // A lossy subscription had `depth` messages waiting.
  kOverflowBytes,   // It had fewer, but no room for the message's bytes.
  kPoison,          // Its subscriber's process died of it again and again.
  kRefused,   // Its publisher is one more than the subscriber's node takes.
  kTooLarge,  // The subscriber's next process takes no frames of that size.
};
inline constexpr size_t kDropReasonCount = 10;

// "no_subscriber", "subscriber_gone", …
absl::string_view DropReasonWord(DropReason reason);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_DROP_REASON_H_
