#include "tests/soak/soak_side.h"

#include <unistd.h>

#include <cstring>
#include <iostream>
#include <memory>
#include <optional>
#include <thread>

#include "mycelium/bus/grpc_endpoint.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(60);
// Small, so that it is full and wraps around all the time.
constexpr size_t kLaneBytes = 256 << 10;
constexpr size_t kFrameBytesMax = 16 << 10;

MessageType NumberType() {
  return RawMessageType("mycelium.test.Number", Digest());
}

BusOptions OptionsOf(const std::string& node, SoakCounts& counts) {
  BusOptions options;
  options.node = node;
  options.log = [](LogLevel, absl::string_view) {};
  options.settings.lane_bytes = kLaneBytes;
  options.settings.retain = kLong;
  options.settings.publish_timeout = kLong;
  options.limits.frame_bytes_max = kFrameBytesMax;
  options.limits.reconnect_min = absl::Milliseconds(1);
  options.limits.reconnect_max = absl::Milliseconds(5);
  options.on_connection = [&counts](const ConnectionEvent& event) {
    if (event.state == ConnectionEvent::State::kGone) ++counts.gone;
    if (event.state == ConnectionEvent::State::kReconnected) {
      ++counts.reconnected;
    }
    if (!event.status.ok() && !absl::IsUnavailable(event.status)) {
      ++counts.complaints;
      std::cerr << event.status << "\n";
    }
  };
  return options;
}

int Fail(SoakCounts& counts, const absl::Status& status) {
  std::cerr << status << "\n";
  ++counts.sides_failed;
  return 1;
}

// Adds what this side has counted, and stays until it is told to go: its memory
// is looked at meanwhile.
int Finish(MessageBus& bus, SoakCounts& counts) {
  for (const FlowReport& flow : bus.FlowReports()) {
    counts.accepted += flow.ledger.accepted;
    counts.delivered += flow.ledger.delivered;
    counts.dropped += flow.ledger.dropped_total();
    counts.in_flight += flow.ledger.in_flight;
  }
  ++counts.sides_done;
  char ignored;
  while (read(STDIN_FILENO, &ignored, 1) > 0) {
  }
  return bus.Shutdown(kLong).ok() ? 0 : 1;
}

}  // namespace

int RunPublisher(const std::string& transport, const std::string& socket,
                 uint64_t messages, SoakCounts& counts) {
  auto bus = MessageBus::Create(OptionsOf("publisher", counts));
  if (!bus.ok()) return Fail(counts, bus.status());
  const absl::Status dialled = transport == "unix"
                                   ? DialUnixEndpoint(socket, **bus)
                                   : DialGrpcEndpoint("unix:" + socket, **bus);
  if (!dialled.ok()) return Fail(counts, dialled);
  auto publisher = (*bus)->RawPublisher(NumberType());
  if (!publisher.ok()) return Fail(counts, publisher.status());
  if (auto found = publisher->WaitForSubscribers(1, kLong); !found.ok()) {
    return Fail(counts, found);
  }
  for (uint64_t id = 1; id <= messages;) {
    const absl::Status sent = publisher->Publish(absl::MakeConstSpan(
        reinterpret_cast<const std::byte*>(&id), sizeof id));
    if (sent.ok()) {
      counts.published.store(id++, std::memory_order_relaxed);
    } else if (absl::IsUnavailable(sent)) {
      std::this_thread::yield();  // Full, and the peer is being dialled.
    } else {
      return Fail(counts, sent);
    }
  }
  if (auto flushed = (*bus)->Flush(kLong); !flushed.ok()) {
    return Fail(counts, flushed);
  }
  return Finish(**bus, counts);
}

int RunSubscriber(const std::string& transport, const std::string& socket,
                  uint64_t messages, SoakCounts& counts) {
  auto bus = MessageBus::Create(OptionsOf("subscriber", counts));
  if (!bus.ok()) return Fail(counts, bus.status());
  std::optional<UnixEndpointHandle> unix_endpoint;
  std::optional<GrpcEndpointHandle> grpc_endpoint;
  if (transport == "unix") {
    auto endpoint = BindUnixEndpoint(socket, **bus);
    if (!endpoint.ok()) return Fail(counts, endpoint.status());
    unix_endpoint.emplace(*std::move(endpoint));
  } else {
    auto endpoint = BindGrpcEndpoint("unix:" + socket, **bus);
    if (!endpoint.ok()) return Fail(counts, endpoint.status());
    grpc_endpoint.emplace(*std::move(endpoint));
  }
  auto subscriber = (*bus)->RawSubscriber(NumberType());
  if (!subscriber.ok()) return Fail(counts, subscriber.status());
  while (counts.received.last < messages) {
    auto number = subscriber->Receive(kLong);
    if (!number.ok()) return Fail(counts, number.status());
    uint64_t id = 0;
    if (number->size() == sizeof id) {
      std::memcpy(&id, number->data(), sizeof id);
    }
    counts.received.Record(id);
  }
  (void)subscriber->TryReceive();  // Finishes the last one.
  return Finish(**bus, counts);
}

}  // namespace mycelium::test
