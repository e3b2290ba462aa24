#include "mycelium/capi/events.h"

#include <string>

#include "absl/strings/string_view.h"
#include "mycelium/capi/enums.h"
#include "mycelium/capi/status.h"
#include "mycelium/routing/schema_mismatch.h"

namespace mycelium {
namespace {

void TellConnection(const ConnectionEvent& event,
                    mycelium_on_connection callback, void* user) {
  const std::string message(event.status.message());
  MyceliumConnectionEvent told;
  told.peer = event.peer.c_str();
  told.transport = event.transport.c_str();
  told.state = NumberOf(event.state);
  told.status = static_cast<mycelium_status>(event.status.code());
  told.message = message.c_str();
  callback(&told, user);
}

void TellFlow(const FlowEvent& event, mycelium_on_flow callback, void* user) {
  const bool is_drop = event.kind == FlowEvent::Kind::kDropped;
  const MyceliumFlow flow = FlowOf(event.flow);
  MyceliumFlowEvent told;
  told.kind = NumberOf(event.kind);
  told.flow = is_drop ? &flow : nullptr;
  told.reason = static_cast<size_t>(event.reason);
  told.messages = event.messages;
  told.lane = event.lane.c_str();
  callback(&told, user);
}

}  // namespace

MyceliumFlow FlowOf(const FlowReport& report) {
  MyceliumFlow flow;
  flow.topic = report.topic.c_str();
  flow.publisher_node = report.publisher_node.c_str();
  flow.publisher_service = report.publisher_service.c_str();
  flow.subscriber_node = report.subscriber_node.c_str();
  flow.subscriber_service = report.subscriber_service.c_str();
  flow.subscription_name = report.subscription_name.c_str();
  flow.transport = report.transport.c_str();
  flow.accepted = report.ledger.accepted;
  flow.delivered = report.ledger.delivered;
  flow.in_flight = report.ledger.in_flight;
  flow.dropped = report.ledger.dropped.data();
  flow.dropped_count = report.ledger.dropped.size();
  return flow;
}

void SetCallbacks(const MyceliumRuntimeOptions& given, BusOptions* made) {
  if (given.on_connection != nullptr) {
    made->on_connection =
        [callback = given.on_connection,
         user = given.on_connection_user](const ConnectionEvent& event) {
          TellConnection(event, callback, user);
        };
  }
  if (given.on_flow != nullptr) {
    made->on_flow = [callback = given.on_flow,
                     user = given.on_flow_user](const FlowEvent& event) {
      TellFlow(event, callback, user);
    };
  }
  if (given.log != nullptr) {
    made->log = [callback = given.log, user = given.log_user](
                    LogLevel level, absl::string_view message) {
      callback(NumberOf(level), std::string(message).c_str(), user);
    };
  }
}

void TellRefusal(const absl::Status& status,
                 void (*callback)(const MyceliumRefusal* refusal, void* user),
                 void* user) {
  const std::string message(status.message());
  const auto mismatch = SchemaMismatchOf(status);
  MyceliumSchemaMismatch view;
  MyceliumRefusal refusal = {};
  refusal.status = static_cast<mycelium_status>(status.code());
  refusal.message = message.c_str();
  if (mismatch.has_value()) {
    view = ViewOf(*mismatch);
    refusal.mismatch = &view;
  }
  callback(&refusal, user);
}

void SetCallbacks(const MyceliumSubscriberOptions& given,
                  SubscriberOptions* made) {
  if (given.on_error != nullptr) {
    made->on_error = [callback = given.on_error,
                      user = given.on_error_user](const absl::Status& status) {
      TellRefusal(status, callback, user);
    };
  }
  if (given.on_publisher_gone == nullptr) return;
  made->on_publisher_gone =
      [callback = given.on_publisher_gone,
       user = given.on_publisher_gone_user](const PublisherGone& gone) {
        const MyceliumPublisherGone told = {
            gone.node.c_str(), gone.service.c_str(), gone.topic.c_str()};
        callback(&told, user);
      };
}

}  // namespace mycelium
