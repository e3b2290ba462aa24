// A peer that is stopped while its kernel still accepts connections for it.

#include <memory>
#include <string>

#include "tests/conformance/process_fixture.h"

namespace mycelium::test {
namespace {

constexpr uint64_t kRun = 1;

struct Names {
  std::string writer, reader;
};

// A publisher that waits does so for longer than any test; a silent connection
// is noticed soon, and its lanes outlive it for a moment.
class StoppedTest : public ProcessTest,
                    public ::testing::WithParamInterface<Names> {
 protected:
  StoppedTest() {
    WriteTopology(GetParam().writer, GetParam().reader, /*retain=*/"200ms",
                  /*publish_timeout=*/"1h",
                  "keepalive = \"300ms\"\nhandshake = \"1s\"\n");
  }
};

TEST_P(StoppedTest, SubscriberIsGivenUpAndJoinsAgain) {
  const std::string& reader_name = GetParam().reader;
  auto writer = Writer(kRun);
  auto reader = Reader(kRun);
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
  writer->Tell("stream");
  writer->Tell("await 1000");
  writer->Await("reached");
  reader->Stop();
  writer->Await("event disconnected " + reader_name);
  // A wait for room, or for the peer, takes no longer than this.
  writer->Await("event gone " + reader_name);
  (void)writer->Ask("stop", "stopped");
  const uint64_t before = writer->counts().accepted;
  const Counted given_up = LedgerOf(*writer);
  EXPECT_EQ(given_up.accepted, before);
  EXPECT_EQ(given_up.in_flight, 0u);
  EXPECT_GT(given_up.gone, 0u);
  EXPECT_EQ(given_up.gone, given_up.dropped);

  reader->Resume();
  writer->Await("event connected " + reader_name);
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
  EXPECT_EQ(writer->Ask("publish 100", "published").substr(0, 2), "OK");
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  const ReceivedIds& got = reader->counts().received[kRun];
  EXPECT_EQ(got.last, before + 100);
  EXPECT_EQ(got.duplicates, 0u);
  EXPECT_EQ(got.torn, 0u);
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, before + 100);
  EXPECT_EQ(sent.in_flight, 0u);
  EXPECT_EQ(sent.dropped, given_up.dropped);
  // The peer may have handled some messages without being able to say so.
  EXPECT_GE(got.count + sent.dropped, sent.accepted);
  EXPECT_EQ(LedgerOf(*reader).delivered, got.count);
}

INSTANTIATE_TEST_SUITE_P(Whoever, StoppedTest,
                         ::testing::Values(Names{"a", "b"}, Names{"b", "a"}),
                         [](const auto& info) {
                           return "WriterIs" + info.param.writer;
                         });

}  // namespace
}  // namespace mycelium::test
