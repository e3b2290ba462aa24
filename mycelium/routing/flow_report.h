#ifndef MYCELIUM_ROUTING_FLOW_REPORT_H_
#define MYCELIUM_ROUTING_FLOW_REPORT_H_

#include <string>

#include "mycelium/transport/lane/ledger.h"

namespace mycelium {

// What one node has counted of one publisher's messages to one subscription.
// Between two nodes, the publisher's node has `accepted`, `in_flight` and what
// it dropped; the subscriber's node has `delivered` and what it dropped. Within
// one process one report has it all.
struct FlowReport {
  std::string topic;
  std::string publisher_node;
  std::string publisher_service;
  std::string subscriber_node;  // Empty if no subscription matched.
  std::string subscriber_service;
  std::string subscription_name;
  std::string transport;  // inproc, unix, …
  Ledger ledger;

  // Whether both are about the same publisher and subscription.
  bool SameFlow(const FlowReport& other) const {
    return topic == other.topic && publisher_node == other.publisher_node &&
           publisher_service == other.publisher_service &&
           subscriber_node == other.subscriber_node &&
           subscriber_service == other.subscriber_service &&
           subscription_name == other.subscription_name;
  }
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_FLOW_REPORT_H_
