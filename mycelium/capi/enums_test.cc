#include "mycelium/capi/enums.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "mycelium/bus/connection_state.h"
#include "mycelium/capi/mycelium.h"
#include "mycelium/capi/status.h"

namespace mycelium {
namespace {

// What compiled programs say, the name in the header, the enumerator of C++ and
// its word for people: no two of these may ever part.

struct OverflowRow {
  int32_t number;
  int32_t name;
  Overflow value;
  absl::string_view word;
};
constexpr OverflowRow kOverflows[] = {
    {1, MYCELIUM_OVERFLOW_BLOCK, Overflow::kBlock, "block"},
    {2, MYCELIUM_OVERFLOW_FAIL, Overflow::kFail, "fail"},
    {3, MYCELIUM_OVERFLOW_DROP_NEWEST, Overflow::kDropNewest, "drop_newest"},
    {4, MYCELIUM_OVERFLOW_DROP_OLDEST, Overflow::kDropOldest, "drop_oldest"},
    {5, MYCELIUM_OVERFLOW_LATEST, Overflow::kLatest, "latest"},
    {6, MYCELIUM_OVERFLOW_DISCONNECT, Overflow::kDisconnect, "disconnect"},
};

TEST(EnumsTest, EachPolicyIsWhatItsNameSays) {
  EXPECT_EQ(std::size(kOverflows), OverflowWords().size());
  for (const OverflowRow& row : kOverflows) {
    SCOPED_TRACE(row.word);
    EXPECT_EQ(row.name, row.number);
    EXPECT_EQ(OverflowFrom(row.number).value(), row.value);
    EXPECT_EQ(WordOf(row.value), row.word);
  }
  EXPECT_EQ(OverflowFrom(MYCELIUM_OVERFLOW_CONFIGURED).value(), std::nullopt);
}

struct WaitRow {
  int32_t number;
  int32_t name;
  WaitMode value;
  absl::string_view word;
};
constexpr WaitRow kWaits[] = {
    {1, MYCELIUM_WAIT_SPIN, WaitMode::kSpin, "spin"},
    {2, MYCELIUM_WAIT_ADAPTIVE, WaitMode::kAdaptive, "adaptive"},
    {3, MYCELIUM_WAIT_BLOCK, WaitMode::kBlock, "block"},
};

TEST(EnumsTest, EachWayToWaitIsWhatItsNameSays) {
  EXPECT_EQ(std::size(kWaits), WaitWords().size());
  for (const WaitRow& row : kWaits) {
    SCOPED_TRACE(row.word);
    EXPECT_EQ(row.name, row.number);
    EXPECT_EQ(WaitFrom(row.number).value(), row.value);
    EXPECT_EQ(WordOf(row.value), row.word);
  }
  EXPECT_EQ(WaitFrom(MYCELIUM_WAIT_CONFIGURED).value(), std::nullopt);
}

TEST(EnumsTest, EachSchemaPolicyIsWhatItsNameSays) {
  EXPECT_EQ(SchemaPolicyWords().size(), 2u);
  EXPECT_EQ(MYCELIUM_SCHEMA_EXACT, 0);
  EXPECT_EQ(MYCELIUM_SCHEMA_COMPATIBLE, 1);
  EXPECT_EQ(SchemaFrom(0).value(), SchemaPolicy::kExact);
  EXPECT_EQ(SchemaFrom(1).value(), SchemaPolicy::kCompatible);
  EXPECT_EQ(
      SchemaFrom(2).status(),
      absl::InvalidArgumentError("schema is 2, which is no schema policy"));
  EXPECT_EQ(WordOf(SchemaPolicy::kCompatible), "compatible");
}

TEST(EnumsTest, EachModeOfDeliveryIsWhatItsNameSays) {
  EXPECT_EQ(MYCELIUM_INLINE, 0);
  EXPECT_EQ(MYCELIUM_QUEUED, 1);
  EXPECT_EQ(DeliveryFrom(MYCELIUM_INLINE).value(), DeliveryMode::kInline);
  EXPECT_EQ(DeliveryFrom(MYCELIUM_QUEUED).value(), DeliveryMode::kQueued);
}

TEST(EnumsTest, NumberOfNothingIsInvalidAndNamed) {
  for (const int32_t number : {INT32_MIN, -1, 7, INT32_MAX}) {
    const std::string is = " is " + std::to_string(number);
    EXPECT_EQ(
        OverflowFrom(number).status(),
        absl::InvalidArgumentError("overflow" + is + ", which is no policy"));
    EXPECT_EQ(
        WaitFrom(number).status(),
        absl::InvalidArgumentError("wait" + is + ", which is no way to wait"));
    EXPECT_EQ(
        DeliveryFrom(number).status(),
        absl::InvalidArgumentError("delivery" + is + ", which is no mode"));
  }
  EXPECT_FALSE(WaitFrom(4).ok());
  EXPECT_FALSE(DeliveryFrom(2).ok());
}

struct StateRow {
  int32_t number;
  int32_t name;
  ConnectionEvent::State value;
  absl::string_view word;
};
constexpr StateRow kStates[] = {
    {0, MYCELIUM_CONNECTED, ConnectionEvent::State::kConnected, "connected"},
    {1, MYCELIUM_RECONNECTED, ConnectionEvent::State::kReconnected,
     "reconnected"},
    {2, MYCELIUM_DISCONNECTED, ConnectionEvent::State::kDisconnected,
     "disconnected"},
    {3, MYCELIUM_REFUSED, ConnectionEvent::State::kRefused, "refused"},
    {4, MYCELIUM_GONE, ConnectionEvent::State::kGone, "gone"},
};

TEST(EnumsTest, EachStateOfAConnectionIsWhatItsNameSays) {
  for (const StateRow& row : kStates) {
    SCOPED_TRACE(row.word);
    EXPECT_EQ(row.name, row.number);
    EXPECT_EQ(NumberOf(row.value), row.number);
    EXPECT_EQ(ConnectionStateWord(row.value), row.word);
  }
}

TEST(EnumsTest, EachKindOfFlowEventIsWhatItsNameSays) {
  EXPECT_EQ(MYCELIUM_DROPPED, 0);
  EXPECT_EQ(MYCELIUM_STALLED, 1);
  EXPECT_EQ(NumberOf(FlowEvent::Kind::kDropped), MYCELIUM_DROPPED);
  EXPECT_EQ(NumberOf(FlowEvent::Kind::kStalled), MYCELIUM_STALLED);
}

struct LevelRow {
  int32_t number;
  int32_t name;
  LogLevel value;
  absl::string_view word;
};
constexpr LevelRow kLevels[] = {
    {0, MYCELIUM_LOG_INFO, LogLevel::kInfo, "info"},
    {1, MYCELIUM_LOG_WARNING, LogLevel::kWarning, "warning"},
    {2, MYCELIUM_LOG_ERROR, LogLevel::kError, "error"},
};

TEST(EnumsTest, EachLevelOfTheLogIsWhatItsNameSays) {
  for (const LevelRow& row : kLevels) {
    SCOPED_TRACE(row.word);
    EXPECT_EQ(row.name, row.number);
    EXPECT_EQ(NumberOf(row.value), row.number);
    testing::internal::CaptureStderr();
    StderrLog()(row.value, "text");
    EXPECT_EQ(testing::internal::GetCapturedStderr(),
              "mycelium: " + std::string(row.word) + ": text\n");
  }
}

struct StatusRow {
  mycelium_status number;
  mycelium_status name;
  absl::StatusCode value;
  absl::string_view word;
};
constexpr StatusRow kCodes[] = {
    {0, MYCELIUM_OK, absl::StatusCode::kOk, "OK"},
    {3, MYCELIUM_INVALID_ARGUMENT, absl::StatusCode::kInvalidArgument,
     "INVALID_ARGUMENT"},
    {4, MYCELIUM_DEADLINE_EXCEEDED, absl::StatusCode::kDeadlineExceeded,
     "DEADLINE_EXCEEDED"},
    {5, MYCELIUM_NOT_FOUND, absl::StatusCode::kNotFound, "NOT_FOUND"},
    {6, MYCELIUM_ALREADY_EXISTS, absl::StatusCode::kAlreadyExists,
     "ALREADY_EXISTS"},
    {7, MYCELIUM_PERMISSION_DENIED, absl::StatusCode::kPermissionDenied,
     "PERMISSION_DENIED"},
    {8, MYCELIUM_RESOURCE_EXHAUSTED, absl::StatusCode::kResourceExhausted,
     "RESOURCE_EXHAUSTED"},
    {9, MYCELIUM_FAILED_PRECONDITION, absl::StatusCode::kFailedPrecondition,
     "FAILED_PRECONDITION"},
    {12, MYCELIUM_UNIMPLEMENTED, absl::StatusCode::kUnimplemented,
     "UNIMPLEMENTED"},
    {13, MYCELIUM_INTERNAL, absl::StatusCode::kInternal, "INTERNAL"},
    {14, MYCELIUM_UNAVAILABLE, absl::StatusCode::kUnavailable, "UNAVAILABLE"},
    {15, MYCELIUM_DATA_LOSS, absl::StatusCode::kDataLoss, "DATA_LOSS"},
};

TEST(EnumsTest, EachStatusIsWhatItsNameSays) {
  for (const StatusRow& row : kCodes) {
    SCOPED_TRACE(row.word);
    EXPECT_EQ(row.name, row.number);
    EXPECT_EQ(Returned(absl::Status(row.value, "text")), row.number);
    EXPECT_EQ(mycelium_status_name(row.number), row.word);
    EXPECT_EQ(absl::StatusCodeToString(row.value), row.word);
  }
}

}  // namespace
}  // namespace mycelium
