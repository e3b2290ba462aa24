// One side of an exchange, in C++. peers.py describes what every language's
// peer does and prints.
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "mycelium/bus/grpc_endpoint.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shm_endpoint.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using test::Note;

constexpr absl::Duration kPatience = absl::Seconds(20);

struct Arguments {
  std::string role;
  std::string transport;
  std::string address;
  std::string schema_digest;  // Hex.
  uint64_t count = 0;
  uint64_t pause_at = 0;  // 0: never.
};

std::string TextOf(uint64_t id) { return absl::StrCat("note ", id); }

// Writes each line by one call, so that lines of two threads do not mix.
void Say(const std::string& line) { std::cout << line + "\n" << std::flush; }

void SayError(const absl::Status& status) {
  Say(absl::StrCat("error ", absl::StatusCodeToString(status.code()), " ",
                   status.message()));
}

absl::StatusOr<EndpointHandle> Bind(const Arguments& arguments,
                                    MessageBus& bus) {
  const std::string& address = arguments.address;
  if (arguments.transport == "unix") return BindUnixEndpoint(address, bus);
  if (arguments.transport == "shm") return BindShmEndpoint(address, bus);
  if (arguments.transport == "grpc") return BindGrpcEndpoint(address, bus);
  return absl::InvalidArgumentError("no such transport");
}

absl::Status Dial(const Arguments& arguments, MessageBus& bus) {
  const std::string& address = arguments.address;
  if (arguments.transport == "unix") return DialUnixEndpoint(address, bus);
  if (arguments.transport == "shm") return DialShmEndpoint(address, bus);
  if (arguments.transport == "grpc") return DialGrpcEndpoint(address, bus);
  if (arguments.transport == "topology") return absl::OkStatus();
  return absl::InvalidArgumentError("no such transport");
}

// `endpoint` gets the object that keeps listening while it lives.
absl::Status Listen(const Arguments& arguments, MessageBus& bus,
                    std::optional<EndpointHandle>* endpoint) {
  if (arguments.transport == "topology") return absl::OkStatus();
  absl::StatusOr<EndpointHandle> bound = Bind(arguments, bus);
  if (bound.ok()) endpoint->emplace(*std::move(bound));
  return bound.status();
}

void SayLedger(const MessageBus& bus) {
  Ledger sum;
  std::set<std::string> transports;
  for (const FlowReport& flow : bus.FlowReports()) {
    sum += flow.ledger;
    transports.insert(flow.transport);
  }
  Say(absl::StrCat("ledger ", sum.accepted, " ", sum.delivered, " ",
                   sum.dropped_total(), " ", sum.in_flight, " ",
                   absl::StrJoin(transports, ",")));
}

absl::Status Publish(MessageBus& bus, Publisher<Note>& publisher,
                     const Arguments& arguments) {
  absl::Status found = publisher.WaitForSubscribers(1, kPatience);
  if (!found.ok()) return found;
  Say("matched");
  Note note;
  for (uint64_t id = 1; id <= arguments.count; ++id) {
    note.set_id(id);
    note.set_text(TextOf(id));
    if (absl::Status sent = publisher.Publish(note); !sent.ok()) return sent;
    if (id == arguments.pause_at) Say(absl::StrCat("at ", id));
  }
  absl::Status handled = bus.Flush(kPatience);
  if (handled.ok()) SayLedger(bus);
  return handled;
}

absl::Status Receive(Subscriber<Note>& notes, const Arguments& arguments) {
  uint64_t last = 0;
  while (last < arguments.count) {
    auto note = notes.Receive(kPatience);
    if (!note.ok()) return note.status();
    const uint64_t id = (*note)->id();
    if ((*note)->text() != TextOf(id)) return absl::DataLossError("text");
    // The first id tells where the publisher is; id 1 begins a new publisher.
    if (last != 0 && id != last + 1 && id != 1) {
      return absl::DataLossError(absl::StrCat(id, " after ", last));
    }
    if (last == 0 || id != last + 1) Say(absl::StrCat("from ", id));
    last = id;
    if (arguments.pause_at != 0 && id % arguments.pause_at == 0) {
      Say(absl::StrCat("at ", id));
      std::string line;
      std::getline(std::cin, line);
    }
  }
  notes.Finish();
  Say(absl::StrCat("received ", last));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<MessageBus>> MakeBus(
    const Arguments& arguments, const std::string& service) {
  BusOptions options;
  absl::StatusOr<Digest> digest = Digest::FromHex(arguments.schema_digest);
  if (!digest.ok()) return digest.status();
  options.schema_digest = *digest;
  if (arguments.transport == "topology") {
    return MessageBus::FromTopology(arguments.address, service, options);
  }
  options.node = service;
  return MessageBus::Create(options);
}

void SayDone(const absl::Status& done) {
  if (!done.ok()) SayError(done);
  // Waits while the other side counts, or has not learnt why it is refused.
  std::string line;
  std::getline(std::cin, line);
}

absl::Status RunPublisher(const Arguments& arguments) {
  auto bus = MakeBus(arguments, "publish");
  if (!bus.ok()) return bus.status();
  auto publisher = (*bus)->Publisher<Note>();
  if (!publisher.ok()) return publisher.status();
  if (absl::Status dialled = Dial(arguments, **bus); !dialled.ok()) {
    return dialled;
  }
  Say("ready");
  SayDone(Publish(**bus, *publisher, arguments));
  return absl::OkStatus();
}

absl::Status RunSubscriber(const Arguments& arguments) {
  auto bus = MakeBus(arguments, "subscribe");
  if (!bus.ok()) return bus.status();
  auto notes = (*bus)->Subscriber<Note>();
  if (!notes.ok()) return notes.status();
  std::optional<EndpointHandle> endpoint;
  if (absl::Status bound = Listen(arguments, **bus, &endpoint); !bound.ok()) {
    return bound;
  }
  Say("ready");
  const absl::Status done = Receive(*notes, arguments);
  SayDone(done);
  if (done.ok()) SayLedger(**bus);
  return absl::OkStatus();
}

absl::Status RunBoth(const Arguments& arguments) {
  auto publishing = MakeBus(arguments, "publish");
  auto subscribing = MakeBus(arguments, "subscribe");
  if (!publishing.ok()) return publishing.status();
  if (!subscribing.ok()) return subscribing.status();
  auto notes = (*subscribing)->Subscriber<Note>();
  auto publisher = (*publishing)->Publisher<Note>();
  if (!notes.ok()) return notes.status();
  if (!publisher.ok()) return publisher.status();
  absl::Status published;
  std::thread other(
      [&] { published = Publish(**publishing, *publisher, arguments); });
  const absl::Status received = Receive(*notes, arguments);
  other.join();
  return received.ok() ? published : received;
}

absl::Status Run(const Arguments& arguments) {
  if (arguments.role == "publish") return RunPublisher(arguments);
  if (arguments.role == "subscribe") return RunSubscriber(arguments);
  return RunBoth(arguments);
}

}  // namespace
}  // namespace mycelium

int main(int argc, char** argv) {
  mycelium::Arguments arguments;
  if (argc != 7 || !absl::SimpleAtoi(argv[5], &arguments.count) ||
      !absl::SimpleAtoi(argv[6], &arguments.pause_at)) {
    return 2;
  }
  arguments.role = argv[1];
  arguments.transport = argv[2];
  arguments.address = argv[3];
  arguments.schema_digest = argv[4];
  const absl::Status begun = mycelium::Run(arguments);
  if (begun.ok()) return 0;
  mycelium::SayError(begun);
  return 1;
}
