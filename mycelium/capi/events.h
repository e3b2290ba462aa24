#ifndef MYCELIUM_CAPI_EVENTS_H_
#define MYCELIUM_CAPI_EVENTS_H_

#include "mycelium/bus/options.h"
#include "mycelium/capi/mycelium.h"
#include "mycelium/routing/flow_report.h"

// Events as C has them.

namespace mycelium {

// Borrows the report.
MyceliumFlow FlowOf(const FlowReport& report);

// Calls `callback` with the reason why messages do not come.
void TellRefusal(const absl::Status& status,
                 void (*callback)(const MyceliumRefusal* refusal, void* user),
                 void* user);

// Sets the callbacks that `given` has, except those for messages. They keep
// nothing of `given`.
void SetCallbacks(const MyceliumRuntimeOptions& given, BusOptions* made);
void SetCallbacks(const MyceliumSubscriberOptions& given,
                  SubscriberOptions* made);

}  // namespace mycelium

#endif  // MYCELIUM_CAPI_EVENTS_H_
