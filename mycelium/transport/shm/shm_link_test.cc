// Which descriptors a link passes to its peer.
#include <fcntl.h>

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/base/fd.h"
#include "mycelium/base/sys.h"
#include "mycelium/transport/framed_link_fixture.h"
#include "mycelium/transport/shm/memfd_memory.h"

namespace mycelium {
namespace {

class IgnoresDrops final : public DropSink {
 public:
  void OnDrop(const FrameView&, DropReason) override {}
};

// Looks at the descriptors when it takes them.
class LookingChannel final : public WireChannel {
 public:
  using WireChannel::WireChannel;

  absl::StatusOr<size_t> SendDescriptors(
      std::array<int, 2> descriptors, absl::Span<const iovec> pieces) override {
    ++tries;
    const absl::StatusOr<size_t> sent = Send(pieces);
    if (sent.ok() && *sent > 0) {
      for (const int fd : descriptors) {
        seals_passed.push_back(Sys::Real().GetSeals(fd));
      }
    }
    return sent;
  }

  int tries = 0;
  std::vector<int64_t> seals_passed;
};

class ShmLinkTest : public FramedLinkTest {
 protected:
  ShmLinkTest() {
    FramedLink::Options options = LinkOptions();
    options.transport = "shm";
    options.shared_memory = &memory_;
    link_ =
        std::make_unique<FramedLink>(environment_, *loop_, options, handler_);
    v1::Hello hello;
    hello.set_incarnation(2);
    hello.set_shared_memory(true);
    link_->Attach(channel_, hello, 0, /*shared_memory_offered=*/true);
  }
  ~ShmLinkTest() override { link_ = nullptr; }

  MemfdMemory memory_{Sys::Real()};
  std::shared_ptr<LookingChannel> channel_ =
      std::make_shared<LookingChannel>(wire_);
};

// The peer refuses what it cannot have read yet, and the lane gets other
// positions: the number of the old ones would be another file's.
TEST_F(ShmLinkTest, DescriptorsThatWaitToBePassedStayWhatTheyWere) {
  Lane::Options options;
  options.capacity_bytes = kLaneBytes;
  options.lossy.emplace();
  options.lossy->depth = 4;
  options.window = 2;
  options.drop_sink = std::make_shared<IgnoresDrops>();
  wire_.takes = 0;
  const std::shared_ptr<Lane> lane = *link_->OpenLane(1, options);
  Publish(*lane, 64);
  ASSERT_EQ(channel_->tries, 1);
  ASSERT_TRUE(lane->mapped());
  v1::Control control;
  control.mutable_lane_refused()->set_lane(lane->id());
  const std::string body = control.SerializeAsString();
  wire_.Deliver(MakeRecordHeader(RecordKind::kControl, body.size()), body);
  ASSERT_FALSE(lane->mapped());
  // The lowest numbers that are free.
  std::vector<Fd> others;
  for (int i = 0; i < 8; ++i) {
    others.emplace_back(Sys::Real(), open("/dev/null", O_RDONLY | O_CLOEXEC));
  }
  wire_.takes = ~size_t{0};
  wire_.handler->OnWritable();
  ASSERT_EQ(channel_->seals_passed.size(), 2u);
  for (const int64_t seals : channel_->seals_passed) EXPECT_GT(seals, 0);
}

}  // namespace
}  // namespace mycelium
