// One side of an exchange, in C++. What every language's peer does, and prints,
// is described in interop_test.py.
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
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

void Say(const std::string& line) { std::cout << line << std::endl; }

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
  return absl::InvalidArgumentError("no such transport");
}

// `endpoint` becomes what keeps listening while it lives, if it does.
absl::Status Open(const Arguments& arguments, MessageBus& bus,
                  std::optional<EndpointHandle>* endpoint) {
  if (arguments.role == "publish") return Dial(arguments, bus);
  absl::StatusOr<EndpointHandle> bound = Bind(arguments, bus);
  if (bound.ok()) endpoint->emplace(*std::move(bound));
  return bound.status();
}

void SayLedger(const MessageBus& bus) {
  Ledger sum;
  for (const FlowReport& flow : bus.FlowReports()) sum += flow.ledger;
  Say(absl::StrCat("ledger ", sum.accepted, " ", sum.delivered, " ",
                   sum.dropped_total(), " ", sum.in_flight));
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
    // The first one tells where the publisher is; 1 begins a new publisher.
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

absl::Status Run(const Arguments& arguments) {
  BusOptions options;
  options.node = arguments.role;
  absl::StatusOr<Digest> digest = Digest::FromHex(arguments.schema_digest);
  if (!digest.ok()) return digest.status();
  options.schema_digest = *digest;
  auto bus = MessageBus::Create(options);
  if (!bus.ok()) return bus.status();
  absl::StatusOr<Subscriber<Note>> notes = absl::UnknownError("none");
  if (arguments.role == "subscribe") {
    notes = (*bus)->Subscriber<Note>();
    if (!notes.ok()) return notes.status();
  }
  absl::StatusOr<Publisher<Note>> publisher = absl::UnknownError("none");
  if (arguments.role == "publish") {
    publisher = (*bus)->Publisher<Note>();
    if (!publisher.ok()) return publisher.status();
  }
  std::optional<EndpointHandle> endpoint;
  if (absl::Status opened = Open(arguments, **bus, &endpoint); !opened.ok()) {
    return opened;
  }
  Say("ready");
  const absl::Status done = arguments.role == "publish"
                                ? Publish(**bus, *publisher, arguments)
                                : Receive(*notes, arguments);
  if (!done.ok()) SayError(done);
  // As long as the other side counts, or has not learnt why it is refused.
  std::string line;
  std::getline(std::cin, line);
  if (done.ok() && arguments.role == "subscribe") SayLedger(**bus);
  return absl::OkStatus();
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
