// A user's test, with what Mycelium offers for tests: an order arrives, and the
// wait for an order ends when its time is over.
#include <iostream>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/testing/driven_time.h"
#include "mycelium/testing/ledger_check.h"
#include "order.pb.h"

namespace {

absl::Status Run() {
  mycelium::DrivenTime time;
  auto bus = mycelium::MessageBus::Create(time.Options());
  if (!bus.ok()) return bus.status();
  auto received = (*bus)->Subscriber<consumer::Order>();
  if (!received.ok()) return received.status();
  auto orders = (*bus)->Publisher<consumer::Order>();
  if (!orders.ok()) return orders.status();
  if (auto sent = orders->Publish(consumer::Order()); !sent.ok()) return sent;
  if (auto order = received->Receive(absl::Minutes(1)); !order.ok()) {
    return order.status();
  }
  if (received->Receive(absl::Minutes(1)).ok() ||
      time.Elapsed() != absl::Minutes(1)) {
    return absl::InternalError("nothing came, and that took no minute");
  }
  return mycelium::CheckAllDelivered({bus->get()});
}

}  // namespace

int main() {
  const absl::Status status = Run();
  if (status.ok()) return 0;
  std::cerr << status << std::endl;
  return 1;
}
