// Publishes as fast as it may: flood PATH raw|protobuf COUNT. Dials the shared
// memory at PATH, and ends once all was handled.
#include <cstddef>
#include <iostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shm_endpoint.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);
constexpr size_t kBytes = 64;  // As the rows of C++ have.
constexpr size_t kIdAndTags = 8;

template <typename Publisher, typename Message>
absl::Status Flood(absl::StatusOr<Publisher> publisher, const Message& message,
                   uint64_t count) {
  if (!publisher.ok()) return publisher.status();
  absl::Status status = publisher->WaitForSubscribers(1, kPatience);
  for (uint64_t i = 0; i < count && status.ok(); ++i) {
    status = publisher->Publish(message);
  }
  return status;
}

absl::Status Run(const std::string& path, bool raw, uint64_t count) {
  auto bus = MessageBus::Create();
  if (!bus.ok()) return bus.status();
  absl::Status status = DialShmEndpoint(path, **bus);
  if (!status.ok()) return status;
  if (raw) {
    const std::vector<std::byte> bytes(kBytes);
    status = Flood((*bus)->RawPublisher(RawMessageType("bench")), bytes, count);
  } else {
    test::Note note;
    note.set_id(1);
    note.set_blob(std::string(kBytes - kIdAndTags, 'x'));
    status = Flood((*bus)->Publisher<test::Note>(), note, count);
  }
  return status.ok() ? (*bus)->Flush(kPatience) : status;
}

}  // namespace
}  // namespace mycelium

int main(int argc, char** argv) {
  uint64_t count = 0;
  if (argc != 4 || !absl::SimpleAtoi(argv[3], &count)) return 2;
  const absl::Status done =
      mycelium::Run(argv[1], argv[2] == std::string("raw"), count);
  if (!done.ok()) std::cerr << done << std::endl;
  return done.ok() ? 0 : 1;
}
