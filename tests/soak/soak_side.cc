#include "tests/soak/soak_side.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <memory>
#include <optional>
#include <thread>

#include "mycelium/bus/grpc_endpoint.h"
#include "mycelium/bus/message_bus.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(60);
// Small, so that the lane is full and wraps around all the time.
constexpr size_t kLaneBytes = 256 << 10;
constexpr size_t kFrameBytesMax = 16 << 10;
constexpr size_t kMessageBytesMax = 64;

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

// A number, and up to 56 bytes that follow from it.
size_t BytesOf(uint64_t id) {
  return sizeof id + id % (kMessageBytesMax - sizeof id + 1);
}
void WriteMessage(uint64_t id, std::byte* bytes) {
  std::memcpy(bytes, &id, sizeof id);
  std::memset(bytes + sizeof id, static_cast<int>(id & 0xFF),
              BytesOf(id) - sizeof id);
}
// Returns 0, which is no number, if the message is not as it was written.
uint64_t ReadMessage(absl::Span<const std::byte> bytes) {
  uint64_t id = 0;
  std::byte expected[kMessageBytesMax];
  if (bytes.size() < sizeof id) return 0;
  std::memcpy(&id, bytes.data(), sizeof id);
  if (bytes.size() != BytesOf(id)) return 0;
  WriteMessage(id, expected);
  return std::memcmp(bytes.data(), expected, bytes.size()) == 0 ? id : 0;
}

// Breaks every connection below the bus. False if there is none.
bool CutConnections() {
  bool has_cut = false;
  for (int fd = 3; fd < 64; ++fd) {
    sockaddr_storage peer;
    socklen_t bytes = sizeof peer;
    // Only connected sockets have a peer.
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &bytes) == 0) {
      has_cut |= shutdown(fd, SHUT_RDWR) == 0;
    }
  }
  return has_cut;
}

// Checks that the messages take the transport that was asked for.
absl::Status CheckTransport(const MessageBus& bus,
                            const std::string& transport) {
  for (const LinkReport& link : bus.LinkReports()) {
    if (link.transport != transport || !link.fallback.empty()) {
      return absl::InternalError("over " + link.transport + ": " +
                                 link.fallback);
    }
  }
  return absl::OkStatus();
}

// Checks what carried the messages after all cuts, adds this side's counts, and
// stays until it is told to end: meanwhile the watching process looks at its
// memory.
int Finish(MessageBus& bus, const std::string& transport, SoakCounts& counts) {
  if (auto used = CheckTransport(bus, transport); !used.ok()) {
    return Fail(counts, used);
  }
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
  const auto& node = (*bus)->runtime();
  const absl::Status dialled = transport == "grpc"
                                   ? DialGrpcEndpoint("unix:" + socket, **bus)
                               : transport == "shm" ? node->DialShm(socket)
                                                    : node->DialUnix(socket);
  if (!dialled.ok()) return Fail(counts, dialled);
  auto publisher = (*bus)->RawPublisher(NumberType());
  if (!publisher.ok()) return Fail(counts, publisher.status());
  if (auto found = publisher->WaitForSubscribers(1, kLong); !found.ok()) {
    return Fail(counts, found);
  }
  if (auto used = CheckTransport(**bus, transport); !used.ok()) {
    return Fail(counts, used);
  }
  uint64_t cuts = 0;
  std::byte message[kMessageBytesMax];
  for (uint64_t id = 1; id <= messages;) {
    if (const uint64_t wanted = counts.cuts_wanted; cuts != wanted) {
      cuts = wanted;
      if (CutConnections()) ++counts.cuts;
    }
    WriteMessage(id, message);
    const absl::Status sent =
        publisher->Publish(absl::MakeConstSpan(message, BytesOf(id)));
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
  ++counts.flushed;
  return Finish(**bus, transport, counts);
}

int RunSubscriber(const std::string& transport, const std::string& socket,
                  uint64_t messages, SoakCounts& counts) {
  auto bus = MessageBus::Create(OptionsOf("subscriber", counts));
  if (!bus.ok()) return Fail(counts, bus.status());
  const auto& node = (*bus)->runtime();
  std::optional<GrpcEndpointHandle> grpc_endpoint;
  if (transport == "grpc") {
    auto endpoint = BindGrpcEndpoint("unix:" + socket, **bus);
    if (!endpoint.ok()) return Fail(counts, endpoint.status());
    grpc_endpoint.emplace(*std::move(endpoint));
  } else {
    const auto listener =
        transport == "shm" ? node->ListenShm(socket) : node->ListenUnix(socket);
    if (!listener.ok()) return Fail(counts, listener.status());
  }
  auto subscriber = (*bus)->RawSubscriber(NumberType());
  if (!subscriber.ok()) return Fail(counts, subscriber.status());
  while (counts.received.last < messages) {
    auto number = subscriber->Receive(kLong);
    if (!number.ok()) return Fail(counts, number.status());
    counts.received.Record(ReadMessage(*number));
  }
  // The first receive finishes the last message, and the publisher's flush
  // waits for that. A message that arrives until the flush is over came twice.
  for (bool is_over = false; !is_over;) {
    is_over = counts.flushed > 0;
    auto number = subscriber->Receive(absl::Milliseconds(10));
    if (number.ok()) {
      counts.received.Record(ReadMessage(*number));
      is_over = false;
    } else if (!absl::IsDeadlineExceeded(number.status())) {
      return Fail(counts, number.status());
    }
  }
  return Finish(**bus, transport, counts);
}

}  // namespace mycelium::test
