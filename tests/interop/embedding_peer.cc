// C++ and the Python that it embeds exchange messages without a socket:
//
//   embedding_peer C++|Python HOST_DIGEST PYTHON_DIGEST COUNT
//
// The first argument says which of the two publishes COUNT notes. Prints
// `received ID` after the last note and the node's ledger, which counts both
// ends. If a side is refused, prints what each side is told as
// `error CODE text`.
#include <pybind11/embed.h>

#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mycelium/bus/message_bus.h"
#include "tests/testdata/test_messages.pb.h"

namespace py = pybind11;

namespace mycelium {
namespace {

using test::Note;

constexpr absl::Duration kPatience = absl::Seconds(20);

std::string TextOf(uint64_t id) { return absl::StrCat("note ", id); }

void Say(const std::string& line) { std::cout << line << std::endl; }

void SayError(const absl::Status& status) {
  Say(absl::StrCat("error ", absl::StatusCodeToString(status.code()), " ",
                   status.message()));
}

absl::Status Publish(Publisher<Note>& publisher, uint64_t count) {
  if (absl::Status found = publisher.WaitForSubscribers(1, kPatience);
      !found.ok()) {
    return found;
  }
  Note note;
  for (uint64_t id = 1; id <= count; ++id) {
    note.set_id(id);
    note.set_text(TextOf(id));
    if (absl::Status sent = publisher.Publish(note); !sent.ok()) return sent;
  }
  return absl::OkStatus();
}

// `embedded`: the module tests.interop.embedded_peer.
absl::Status PublishToPython(MessageBus& bus, const py::object& embedded,
                             const py::bytes& digest, uint64_t count) {
  // Lives until Python has asked why it gets nothing.
  auto publisher = bus.Publisher<Note>();
  if (!publisher.ok()) return publisher.status();
  const py::object receiver = embedded.attr("Receiver")(digest);
  absl::Status done;
  {
    const py::gil_scoped_release release;
    done = Publish(*publisher, count);
  }
  receiver.attr("finish")();
  return done;
}

absl::Status ReceiveFromPython(MessageBus& bus, const py::object& embedded,
                               const py::bytes& digest, uint64_t count) {
  uint64_t last = 0;
  absl::Status wrong;
  auto notes = bus.Subscribe<Note>([&](const Note& note, const MessageInfo&) {
    if (note.id() != last + 1 || note.text() != TextOf(note.id())) {
      wrong = absl::DataLossError(
          absl::StrCat(note.ShortDebugString(), " after ", last));
    }
    last = note.id();
  });
  if (!notes.ok()) return notes.status();
  const py::object sender = embedded.attr("Sender")(digest, count);
  if (wrong.ok()) wrong = notes->status();
  sender.attr("finish")();
  if (!wrong.ok()) return wrong;
  Say(absl::StrCat("received ", last));
  return absl::OkStatus();
}

absl::Status Run(bool cc_publishes, const Digest& host, const Digest& python,
                 uint64_t count) {
  BusOptions options;
  options.schema_digest = host;
  auto bus = MessageBus::OfProcess("host", options);
  if (!bus.ok()) return bus.status();
  // Python finds modules by PYTHONPATH, not in the folder of this program.
  const py::scoped_interpreter interpreter(true, 0, nullptr, false);
  try {
    const auto embedded = py::module_::import("tests.interop.embedded_peer");
    const py::bytes digest(reinterpret_cast<const char*>(python.array().data()),
                           python.array().size());
    const absl::Status done =
        cc_publishes ? PublishToPython(**bus, embedded, digest, count)
                     : ReceiveFromPython(**bus, embedded, digest, count);
    if (!done.ok()) SayError(done);
  } catch (const py::error_already_set& error) {
    return absl::InternalError(error.what());
  }
  Ledger sum;
  for (const FlowReport& flow : (*bus)->FlowReports()) {
    sum += flow.ledger;
    if (flow.transport != "inproc") {
      return absl::InternalError(absl::StrCat("went over ", flow.transport));
    }
  }
  Say(absl::StrCat("ledger ", sum.accepted, " ", sum.delivered, " ",
                   sum.dropped_total(), " ", sum.in_flight));
  return absl::OkStatus();
}

}  // namespace
}  // namespace mycelium

int main(int argc, char** argv) {
  uint64_t count = 0;
  if (argc != 5 || !absl::SimpleAtoi(argv[4], &count)) return 2;
  const auto host = mycelium::Digest::FromHex(argv[2]);
  const auto python = mycelium::Digest::FromHex(argv[3]);
  if (!host.ok() || !python.ok()) return 2;
  const absl::Status done =
      mycelium::Run(argv[1] == std::string("C++"), *host, *python, count);
  if (done.ok()) return 0;
  mycelium::SayError(done);
  return 1;
}
