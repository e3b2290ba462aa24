// The C++ twins of the Rust samples of the release notes, each in processes of
// its own: `samples bind_shm_endpoint PATH` and `samples ring`.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mycelium/base/fd.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shm_endpoint.h"
#include "mycelium/transport/shm/shm_reader.h"
#include "mycelium/transport/shm/shm_writer.h"
#include "tests/samples/samples.pb.h"
#include "tests/samples/samples_schema.h"

namespace samples {
namespace {

constexpr mycelium::Digest kSchemaDigest(samples_schema::kSchemaDigest);

constexpr absl::Duration kPatience = absl::Seconds(20);
constexpr uint64_t kRingMessages = 100000;

// What the samples leave out: a message each way, and the end.
absl::Status Exchange(mycelium::MessageBus& bus,
                      const mycelium::EndpointStats& stats) {
  auto messages = bus.Subscriber<Message>();
  auto publisher = bus.Publisher<Message>();
  if (!messages.ok()) return messages.status();
  if (!publisher.ok()) return publisher.status();
  std::cout << "ready" << std::endl;
  auto message = messages->Receive(kPatience);
  if (!message.ok()) return message.status();
  std::cout << "received " << (*message)->id() << std::endl;
  messages->Finish();
  absl::Status found = publisher->WaitForSubscribers(1, kPatience);
  if (!found.ok()) return found;
  Message reply;
  reply.set_id(9);
  if (absl::Status sent = publisher->Publish(reply); !sent.ok()) return sent;
  if (absl::Status handled = bus.Flush(kPatience); !handled.ok()) {
    return handled;
  }
  mycelium::Ledger sum;
  std::string transport;
  for (const mycelium::FlowReport& flow : bus.FlowReports()) {
    sum += flow.ledger;
    transport = flow.transport;
  }
  std::cout << "ledger " << sum.accepted << " " << sum.delivered << " "
            << sum.dropped_total() << " " << sum.in_flight << " " << transport
            << ", " << stats.Read().connections << " connection" << std::endl;
  return absl::OkStatus();
}

absl::Status RunEndpoint(const std::string& path) {
  auto stats = std::make_shared<mycelium::EndpointStats>();
  mycelium::BusOptions options;
  options.delivers_locally = false;
  // [bind-shm-endpoint]
  auto bus = mycelium::MessageBus::Create(options);
  auto handle = mycelium::BindShmEndpoint(path, **bus, kSchemaDigest,
                                          1024 * 1024,  // 1MB capacity
                                          stats);
  // [/bind-shm-endpoint]
  if (!handle.ok()) return handle.status();
  return Exchange(**bus, *stats);
}

// Runs in a process of its own, and gets every message, once and in order.
absl::Status ReadAll(std::array<int, 2> descriptors) {
  mycelium::Sys& sys = mycelium::Sys::Real();
  auto reader =
      mycelium::ShmReader::Open(mycelium::Fd(sys, dup(descriptors[0])),
                                mycelium::Fd(sys, dup(descriptors[1])));
  if (!reader.ok()) return reader.status();
  uint64_t count = 0;
  while (count < kRingMessages) {
    absl::Span<const std::byte> message;
    if (!reader->Poll(&message)) {
      if (!reader->error().ok()) return reader->error();
      std::this_thread::yield();
      continue;
    }
    uint64_t number = 0;
    if (message.size() != sizeof number) return absl::DataLossError("size");
    std::memcpy(&number, message.data(), sizeof number);
    if (number != count) return absl::DataLossError(absl::StrCat(number));
    ++count;
    reader->Release();
  }
  if (reader->sequence() != kRingMessages) return absl::DataLossError("lost");
  std::cout << "read " << count << " messages" << std::endl;
  return absl::OkStatus();
}

absl::Status RunRing() {
  auto writer = mycelium::ShmWriter::Create(1 << 20);
  if (!writer.ok()) return writer.status();
  const pid_t reader = fork();
  if (reader == 0) {
    const absl::Status read = ReadAll(writer->descriptors());
    if (!read.ok()) std::cerr << read << std::endl;
    _exit(read.ok() ? 0 : 1);
  }
  int ended = 0;
  bool has_ended = false;
  for (uint64_t number = 0; number < kRingMessages && !has_ended;) {
    if (writer->TryWrite(absl::MakeConstSpan(
            reinterpret_cast<const std::byte*>(&number), sizeof number))) {
      ++number;
    } else {
      has_ended = waitpid(reader, &ended, WNOHANG) == reader;
      std::this_thread::yield();
    }
  }
  if (!has_ended) waitpid(reader, &ended, 0);
  if (ended != 0) return absl::DataLossError("the reader says no");
  return writer->error();
}

}  // namespace
}  // namespace samples

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "";
  absl::Status ran = absl::InvalidArgumentError("no such sample");
  if (name == "bind_shm_endpoint" && argc == 3) {
    ran = samples::RunEndpoint(argv[2]);
  } else if (name == "ring") {
    ran = samples::RunRing();
  }
  if (ran.ok()) return 0;
  std::cerr << ran << std::endl;
  return 1;
}
