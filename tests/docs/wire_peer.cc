// The node that wire_client_test.py talks to: it listens at the path in its
// first argument and answers every plant.Reading with one on the topic "echo",
// a degree warmer. Ends with its standard input, and then prints how many
// messages it took and gave.

#include <cstdint>
#include <iostream>
#include <string>

#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/docs/plant.pb.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  mycelium::BusOptions options;
  options.node = "echo-node";
  auto bus = mycelium::MessageBus::Create(options);
  if (!bus.ok()) return 1;
  mycelium::PublisherOptions to_echo;
  to_echo.topic = "echo";
  auto publisher = (*bus)->Publisher<plant::Reading>(to_echo);
  if (!publisher.ok()) return 1;
  auto subscription = (*bus)->Subscribe<plant::Reading>(
      [&](const plant::Reading& reading, const mycelium::MessageInfo&) {
        plant::Reading answer = reading;
        answer.set_celsius(reading.celsius() + 1);
        if (absl::Status sent = publisher->Publish(answer); !sent.ok()) {
          std::cerr << sent << std::endl;
        }
      });
  auto endpoint = mycelium::BindUnixEndpoint(argv[1], **bus);
  if (!subscription.ok() || !endpoint.ok()) return 1;
  std::cout << "ready" << std::endl;
  std::string line;
  while (std::getline(std::cin, line)) continue;
  uint64_t accepted = 0, delivered = 0, dropped = 0;
  for (const mycelium::FlowReport& flow : (*bus)->FlowReports()) {
    accepted += flow.ledger.accepted;
    delivered += flow.ledger.delivered;
    dropped += flow.ledger.dropped_total();
  }
  std::cout << "accepted " << accepted << ", delivered " << delivered
            << ", dropped " << dropped << std::endl;
}
