// The service `orders`, in C++: sends orders to `matching` and prints the fills
// that come back.
//
//   service TOPOLOGY
#include <iostream>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/version.h"
#include "order.pb.h"
#include "order_schema.h"

namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

consumer::Order MakeOrder(const char* symbol) {
  consumer::Order order;
  order.set_symbol(symbol);
  order.set_side(trading::v1::SIDE_BUY);
  order.mutable_created()->set_seconds(absl::ToUnixSeconds(absl::Now()));
  return order;
}

absl::Status Run(const char* topology) {
  mycelium::BusOptions options;
  options.schema_digest = mycelium::Digest(order_schema::kSchemaDigest);
  auto bus = mycelium::MessageBus::FromTopology(topology, "orders", options);
  if (!bus.ok()) return bus.status();
  auto fills = (*bus)->Subscriber<consumer::Fill>();
  if (!fills.ok()) return fills.status();
  auto orders = (*bus)->PublisherTo<consumer::Order>("matching");
  if (!orders.ok()) return orders.status();
  absl::Status status = orders->WaitForSubscribers(1, kPatience);
  for (const char* symbol : {"MYC", "HYP", "SPO"}) {
    if (status.ok()) status = orders->Publish(MakeOrder(symbol));
  }
  if (!status.ok()) return status;
  for (int i = 0; i < 3; ++i) {
    absl::StatusOr<const consumer::Fill*> fill = fills->Receive(kPatience);
    if (!fill.ok()) return fill.status();
    std::cout << "fill of " << (*fill)->symbol() << " at " << (*fill)->price()
              << std::endl;
  }
  if (auto none = fills->TryReceive(); !none.ok()) return none.status();
  return (*bus)->Shutdown(kPatience);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: service TOPOLOGY" << std::endl;
    return 2;
  }
  std::cout << "mycelium " << mycelium::Version() << ", schema "
            << mycelium::Digest(order_schema::kSchemaDigest).ToHex()
            << std::endl;
  const absl::Status status = Run(argv[1]);
  if (!status.ok()) std::cerr << status << std::endl;
  return status.ok() ? 0 : 1;
}
