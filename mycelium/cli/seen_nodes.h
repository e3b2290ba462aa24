#ifndef MYCELIUM_CLI_SEEN_NODES_H_
#define MYCELIUM_CLI_SEEN_NODES_H_

#include <string>

#include "mycelium/cli/host_view.h"

namespace mycelium {

// For tests of `mycelium status`: what it could have seen.

inline SeenNode RunningNode(const std::string& name) {
  SeenNode node;
  node.name = name;
  node.path = "/run/m/" + name + ".sock";
  node.in_topology = true;
  node.state = NodeState::kRunning;
  node.pid = 4711;
  node.uid = 1000;
  node.status.set_node(name);
  node.status.set_version("0.3.0");
  node.status.set_pid(4711);
  node.status.set_up_for_ms(62'345);
  return node;
}

inline SeenNode AbsentNode(const std::string& name, NodeState state,
                           const std::string& why) {
  SeenNode node;
  node.name = name;
  node.path = "/run/m/" + name + ".sock";
  node.in_topology = true;
  node.state = state;
  node.why = why;
  return node;
}

inline v1::LinkStatus& AddLink(SeenNode& node, const std::string& peer,
                               bool is_up, const std::string& error = "") {
  v1::LinkStatus& link = *node.status.add_links();
  link.set_peer(peer);
  link.set_transport("shm");
  link.set_is_up(is_up);
  link.set_state(is_up ? "connected" : "dialling");
  link.set_state_for_ms(12'000);
  if (!is_up) link.set_address("/run/m/" + peer + ".sock");
  link.set_last_error(error);
  return link;
}

inline v1::PublisherStatus& AddPublisher(SeenNode& node,
                                         const std::string& service,
                                         const std::string& topic,
                                         uint64_t subscribers) {
  v1::PublisherStatus& publisher = *node.status.add_publishers();
  publisher.set_service(service);
  publisher.set_topic(topic);
  publisher.set_type(topic);
  publisher.set_subscribers(subscribers);
  return publisher;
}

inline void AddSubscription(SeenNode& node, const std::string& service,
                            const std::string& topic) {
  v1::SubscriptionStatus& subscription = *node.status.add_subscriptions();
  subscription.set_service(service);
  subscription.set_topic(topic);
  subscription.set_type(topic);
}

// As `node` reports it: service `from` of node `feed` to `to` of `brain`.
inline v1::FlowStatus& AddFlow(SeenNode& node, const std::string& topic) {
  v1::FlowStatus& flow = *node.status.add_flows();
  flow.set_topic(topic);
  flow.set_publisher_node("feed");
  flow.set_publisher_service("from");
  flow.set_subscriber_node("brain");
  flow.set_subscriber_service("to");
  flow.set_transport("shm");
  return flow;
}

inline void AddRefusal(SeenNode& node, const std::string& service,
                       const std::string& topic, const std::string& peer,
                       bool of_publisher, const std::string& why) {
  v1::RefusalStatus& refusal = *node.status.add_refusals();
  refusal.set_service(service);
  refusal.set_topic(topic);
  refusal.set_peer(peer);
  refusal.set_of_publisher(of_publisher);
  refusal.set_why(why);
}

// feed publishes ticks to brain, and all is well.
inline HostView TalkingPair() {
  SeenNode feed = RunningNode("feed");
  SeenNode brain = RunningNode("brain");
  AddLink(feed, "brain", true).set_address("/run/m/brain.sock");
  AddLink(brain, "feed", true);
  AddPublisher(feed, "from", "ticks", 1);
  AddSubscription(brain, "to", "ticks");
  v1::FlowStatus& sent = AddFlow(feed, "ticks");
  sent.set_accepted(10);
  sent.set_in_flight(2);
  v1::FlowStatus& got = AddFlow(brain, "ticks");
  got.set_delivered(8);
  HostView view;
  view.socket_dir = "/run/m";
  view.nodes = {feed, brain};
  return view;
}

}  // namespace mycelium

#endif  // MYCELIUM_CLI_SEEN_NODES_H_
