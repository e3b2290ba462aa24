#ifndef MYCELIUM_CAPI_ENUMS_H_
#define MYCELIUM_CAPI_ENUMS_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "mycelium/base/log.h"
#include "mycelium/bus/flow_event.h"
#include "mycelium/bus/options.h"
#include "mycelium/routing/subscription.h"
#include "mycelium/topology/settings.h"

namespace mycelium {

// Convert the enumerators of mycelium.h to those of C++, and back. Pure
// functions. Status codes have the same numbers on both sides.

// None: as configured. INVALID_ARGUMENT: `number` is no such enumerator.
absl::StatusOr<std::optional<Overflow>> OverflowFrom(int32_t number);
absl::StatusOr<std::optional<WaitMode>> WaitFrom(int32_t number);
absl::StatusOr<SchemaPolicy> SchemaFrom(int32_t number);
absl::StatusOr<DeliveryMode> DeliveryFrom(int32_t number);

int32_t NumberOf(ConnectionEvent::State state);
int32_t NumberOf(FlowEvent::Kind kind);
int32_t NumberOf(LogLevel level);

}  // namespace mycelium

#endif  // MYCELIUM_CAPI_ENUMS_H_
