#ifndef MYCELIUM_BUS_FLOW_EVENT_H_
#define MYCELIUM_BUS_FLOW_EVENT_H_

#include <cstdint>
#include <string>

#include "mycelium/routing/flow_report.h"

namespace mycelium {

// Something that a flow of messages suffered.
struct FlowEvent {
  enum class Kind {
    kDropped,  // Accepted messages will not be delivered.
    // A publisher waited for room in vain. Until the subscriber moves, none
    // waits as long again.
    kStalled,
  };
  Kind kind = Kind::kDropped;

  // kDropped: whose messages, and the counts so far.
  FlowReport flow;
  DropReason reason = DropReason::kOverflow;
  uint64_t messages = 0;  // Since the event before.

  // kStalled: "link feed -> brain (unix): lane 1".
  std::string lane;
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_FLOW_EVENT_H_
