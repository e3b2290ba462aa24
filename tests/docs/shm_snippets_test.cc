// The programs of docs/implementation/SHARED_MEMORY_TRANSPORT.md, run as one
// test. //tests/tidy compares the regions with the page.

#include <unistd.h>

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/base/fd.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shared_memory_transport.h"
#include "mycelium/bus/shm_endpoint.h"
#include "mycelium/transport/shm/shm_reader.h"
#include "mycelium/transport/shm/shm_writer.h"
#include "tests/docs/plant.pb.h"
#include "tests/support/short_temp_dir.h"

namespace {

using ::testing::HasSubstr;

// [links]
std::string DescribeLinks(const mycelium::MessageBus& bus) {
  std::string text;
  for (const mycelium::LinkReport& link : bus.LinkReports()) {
    absl::StrAppend(&text, link.peer, ": ", link.transport, ", ", link.rule);
    if (!link.fallback.empty()) {
      absl::StrAppend(&text, "; not shared: ", link.fallback);
    }
    absl::StrAppend(&text, link.is_up ? "\n" : " (down)\n");
  }
  return text;
}
// [/links]

class ShmSnippetsTest : public ::testing::Test {
 protected:
  static constexpr size_t kMessageBytes = 100;

  void PassToTheReader(std::array<int, 2> descriptors) {
    mycelium::Sys& sys = mycelium::Sys::Real();
    ring_ = mycelium::Fd(sys, dup(descriptors[0]));
    positions_ = mycelium::Fd(sys, dup(descriptors[1]));
  }
  void Use(absl::Span<const std::byte> message) { used_ += message.size(); }

  absl::Status RunTransport(const std::string& path,
                            const mycelium::Digest& digest,
                            const plant::Reading& reading) {
    // [transport]
    auto created = mycelium::SharedMemoryTransport::Create(path, digest);
    auto opened = mycelium::SharedMemoryTransport::Open(path, digest);
    if (!created.ok()) return created.status();
    if (!opened.ok()) return opened.status();

    auto readings = (*created)->Subscriber<plant::Reading>();
    auto publisher = (*opened)->Publisher<plant::Reading>();
    absl::Status found = publisher->WaitForSubscribers(1, absl::Seconds(10));
    if (!found.ok()) return found;
    absl::Status sent = publisher->Publish(reading);
    if (!sent.ok()) return sent;
    auto received = readings->Receive(absl::Seconds(10));
    // [/transport]
    if (!received.ok()) return received.status();
    EXPECT_EQ((*received)->sensor(), reading.sensor());
    return absl::OkStatus();
  }

  absl::Status RunEndpoint(const std::string& path,
                           const mycelium::Digest& digest,
                           const std::unique_ptr<mycelium::MessageBus>& control,
                           const std::unique_ptr<mycelium::MessageBus>& field) {
    // [endpoint]
    auto stats = std::make_shared<mycelium::EndpointStats>();
    auto endpoint =
        mycelium::BindShmEndpoint(path, *control, digest, 1024 * 1024, stats);
    if (!endpoint.ok()) return endpoint.status();
    absl::Status dialled = mycelium::DialShmEndpoint(path, *field);
    if (!dialled.ok()) return dialled;
    // [/endpoint]
    auto readings = control->Subscriber<plant::Reading>();
    auto publisher = field->Publisher<plant::Reading>();
    absl::Status found = publisher->WaitForSubscribers(1, absl::Seconds(10));
    EXPECT_EQ(stats->Read().connections, 1u);
    EXPECT_THAT(DescribeLinks(*field), HasSubstr(": shm, dialled by hand\n"));
    return found;
  }

  absl::Status Write(absl::Span<const std::byte> message) {
    // [ring]
    auto writer = mycelium::ShmWriter::Create(1 << 20);
    if (!writer.ok()) return writer.status();
    PassToTheReader(writer->descriptors());
    if (!writer->TryWrite(message)) return absl::ResourceExhaustedError("full");
    // [/ring]
    return absl::OkStatus();
  }

  absl::Status Read(mycelium::Fd ring, mycelium::Fd positions) {
    // [read]
    auto reader =
        mycelium::ShmReader::Open(std::move(ring), std::move(positions));
    if (!reader.ok()) return reader.status();
    absl::Span<const std::byte> message;
    while (reader->Poll(&message)) {
      Use(message);
      reader->Release();
    }
    return reader->error();  // DATA_LOSS if the writer's memory is no ring.
    // [/read]
  }

  const mycelium::test::ShortTempDir dir_;
  mycelium::Fd ring_, positions_;
  size_t used_ = 0;
};

TEST_F(ShmSnippetsTest, TwoEndsOfAPath) {
  plant::Reading reading;
  reading.set_sensor("boiler");
  const absl::Status ran = RunTransport(dir_.file("plant.shm"),
                                        mycelium::Digest::Of("plant"), reading);
  EXPECT_TRUE(ran.ok()) << ran;
}

TEST_F(ShmSnippetsTest, EndpointByHand) {
  auto control = mycelium::MessageBus::Create();
  auto field = mycelium::MessageBus::Create();
  const absl::Status ran =
      RunEndpoint(dir_.file("control.shm"), mycelium::Digest::Of("plant"),
                  *control, *field);
  EXPECT_TRUE(ran.ok()) << ran;
}

TEST_F(ShmSnippetsTest, RingOutlivesItsWriter) {
  const std::vector<std::byte> message(kMessageBytes);
  const absl::Status written = Write(message);
  ASSERT_TRUE(written.ok()) << written;
  const absl::Status read = Read(std::move(ring_), std::move(positions_));
  EXPECT_TRUE(read.ok()) << read;
  EXPECT_EQ(used_, kMessageBytes);
}

}  // namespace
