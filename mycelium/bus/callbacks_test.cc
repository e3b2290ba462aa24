// What users give to be called: a log that is not there, and what throws.
#include <memory>
#include <stdexcept>
#include <utility>

#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;

// Of the same name as Note, and not the same.
MessageType OtherNote() {
  MessageType type = MessageTypeOf<Note>();
  type.digest = Digest::Of("another schema");
  return type;
}

std::unique_ptr<MessageBus> MakeBus(BusOptions options) {
  auto bus = MessageBus::Create(options);
  EXPECT_TRUE(bus.ok()) << bus.status();
  return bus.ok() ? *std::move(bus) : nullptr;
}

TEST(CallbacksTest, NullLogIsSilent) {
  BusOptions options;
  options.log = nullptr;
  auto bus = MakeBus(options);
  auto handle = bus->Subscribe<Note>([](const Note&, const MessageInfo&) {
    throw std::runtime_error("of a subscription");
  });
  auto publisher = bus->Publisher<Note>();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  EXPECT_EQ(handle->handler_errors(), 1u);
  auto refused = bus->RawSubscriber(OtherNote());
  EXPECT_EQ(refused->status().code(), absl::StatusCode::kFailedPrecondition);
  for (const FlowReport& flow : bus->FlowReports()) {
    EXPECT_TRUE(flow.ledger.Balances());
    EXPECT_EQ(flow.ledger.accepted, 1u);
    EXPECT_EQ(flow.ledger.delivered, 1u);
  }
}

}  // namespace
}  // namespace mycelium
