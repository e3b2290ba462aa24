// The node that clients of other authors talk to. It listens over the transport
// in its first argument, "unix" or "grpc", at the address in its second, and
// prints where. It answers every plant.Reading with a reading on the topic
// "echo" that is a degree warmer. It ends with its standard input, and then
// prints how many messages it took and gave.

#include <cstdint>
#include <iostream>
#include <optional>
#include <string>

#include "mycelium/bus/grpc_endpoint.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/docs/plant.pb.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
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
  if (!subscription.ok()) return 1;
  std::optional<mycelium::UnixEndpointHandle> unix_endpoint;
  std::optional<mycelium::GrpcEndpointHandle> grpc_endpoint;
  if (std::string(argv[1]) == "unix") {
    auto endpoint = mycelium::BindUnixEndpoint(argv[2], **bus);
    if (!endpoint.ok()) return 1;
    unix_endpoint.emplace(*std::move(endpoint));
    std::cout << "ready " << unix_endpoint->path() << std::endl;
  } else {
    auto endpoint = mycelium::BindGrpcEndpoint(argv[2], **bus);
    if (!endpoint.ok()) return 1;
    grpc_endpoint.emplace(*std::move(endpoint));
    std::cout << "ready " << grpc_endpoint->address() << std::endl;
  }
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
