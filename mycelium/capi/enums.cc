#include "mycelium/capi/enums.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mycelium/capi/mycelium.h"

namespace mycelium {
namespace {

absl::Status NoSuch(absl::string_view noun, absl::string_view field,
                    int32_t number) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", number, ", which is no ", noun));
}

}  // namespace

absl::StatusOr<std::optional<Overflow>> OverflowFrom(int32_t number) {
  switch (number) {
    case MYCELIUM_OVERFLOW_CONFIGURED:
      return std::nullopt;
    case MYCELIUM_OVERFLOW_BLOCK:
      return Overflow::kBlock;
    case MYCELIUM_OVERFLOW_FAIL:
      return Overflow::kFail;
    case MYCELIUM_OVERFLOW_DROP_NEWEST:
      return Overflow::kDropNewest;
    case MYCELIUM_OVERFLOW_DROP_OLDEST:
      return Overflow::kDropOldest;
    case MYCELIUM_OVERFLOW_LATEST:
      return Overflow::kLatest;
    case MYCELIUM_OVERFLOW_DISCONNECT:
      return Overflow::kDisconnect;
    default:
      return NoSuch("policy", "overflow", number);
  }
}

absl::StatusOr<std::optional<WaitMode>> WaitFrom(int32_t number) {
  switch (number) {
    case MYCELIUM_WAIT_CONFIGURED:
      return std::nullopt;
    case MYCELIUM_WAIT_SPIN:
      return WaitMode::kSpin;
    case MYCELIUM_WAIT_ADAPTIVE:
      return WaitMode::kAdaptive;
    case MYCELIUM_WAIT_BLOCK:
      return WaitMode::kBlock;
    default:
      return NoSuch("way to wait", "wait", number);
  }
}

absl::StatusOr<SchemaPolicy> SchemaFrom(int32_t number) {
  switch (number) {
    case MYCELIUM_SCHEMA_EXACT:
      return SchemaPolicy::kExact;
    case MYCELIUM_SCHEMA_COMPATIBLE:
      return SchemaPolicy::kCompatible;
    default:
      return NoSuch("schema policy", "schema", number);
  }
}

absl::StatusOr<DeliveryMode> DeliveryFrom(int32_t number) {
  switch (number) {
    case MYCELIUM_INLINE:
      return DeliveryMode::kInline;
    case MYCELIUM_QUEUED:
      return DeliveryMode::kQueued;
    default:
      return NoSuch("mode", "delivery", number);
  }
}

int32_t NumberOf(ConnectionEvent::State state) {
  switch (state) {
    case ConnectionEvent::State::kConnected:
      return MYCELIUM_CONNECTED;
    case ConnectionEvent::State::kReconnected:
      return MYCELIUM_RECONNECTED;
    case ConnectionEvent::State::kDisconnected:
      return MYCELIUM_DISCONNECTED;
    case ConnectionEvent::State::kRefused:
      return MYCELIUM_REFUSED;
    case ConnectionEvent::State::kGone:
      return MYCELIUM_GONE;
  }
  return MYCELIUM_GONE;
}

int32_t NumberOf(FlowEvent::Kind kind) {
  switch (kind) {
    case FlowEvent::Kind::kDropped:
      return MYCELIUM_DROPPED;
    case FlowEvent::Kind::kStalled:
      return MYCELIUM_STALLED;
  }
  return MYCELIUM_STALLED;
}

int32_t NumberOf(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return MYCELIUM_LOG_INFO;
    case LogLevel::kWarning:
      return MYCELIUM_LOG_WARNING;
    case LogLevel::kError:
      return MYCELIUM_LOG_ERROR;
  }
  return MYCELIUM_LOG_ERROR;
}

}  // namespace mycelium
