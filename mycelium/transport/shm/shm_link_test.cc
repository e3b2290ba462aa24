// Which descriptors a link passes to its peer.
#include <fcntl.h>

#include <array>
#include <memory>
#include <string>
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
    if (refuses) return absl::ResourceExhaustedError("too many under way");
    const absl::StatusOr<size_t> sent = Send(pieces);
    if (sent.ok() && *sent > 0) {
      for (const int fd : descriptors) {
        seals_passed.push_back(Sys::Real().GetSeals(fd));
      }
    }
    return sent;
  }

  bool is_same_user() const override { return true; }

  bool refuses = false;
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
    hello.set_maps_loans(true);
    link_->Attach(channel_, hello, 0, /*shared_memory_offered=*/true);
  }
  ~ShmLinkTest() override { link_ = nullptr; }

  std::shared_ptr<Lane> OpenLossy() {
    Lane::Options options;
    options.capacity_bytes = kLaneBytes;
    options.lossy.emplace();
    options.lossy->depth = 4;
    options.window = 2;
    options.drop_sink = std::make_shared<IgnoresDrops>();
    return *link_->OpenLane(1, options);
  }
  std::vector<v1::Control> TakeControls() {
    std::vector<v1::Control> controls;
    for (const Wire::Record& record : wire_.TakeRecords()) {
      if (record.kind != RecordKind::kControl) continue;
      EXPECT_TRUE(controls.emplace_back().ParseFromString(record.body));
    }
    return controls;
  }

  MemfdMemory memory_{Sys::Real()};
  std::shared_ptr<LookingChannel> channel_ =
      std::make_shared<LookingChannel>(wire_);
};

// The peer refuses what it cannot have read yet, and the lane gets other
// positions: the number of the old ones would be another file's.
TEST_F(ShmLinkTest, DescriptorsThatWaitToBePassedStayWhatTheyWere) {
  wire_.takes = 0;
  const std::shared_ptr<Lane> lane = OpenLossy();
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

TEST_F(ShmLinkTest, OnlyALaneWhoseDescriptorsCannotBePassedIsSent) {
  channel_->refuses = true;
  const std::shared_ptr<Lane> sent = Open(1);
  Publish(*sent, 64);
  EXPECT_FALSE(sent->mapped());
  const std::vector<Wire::Record> records = wire_.TakeRecords();
  ASSERT_EQ(records.size(), 2u);
  v1::Control control;
  ASSERT_TRUE(control.ParseFromString(records[0].body));
  EXPECT_EQ(control.lane_open().lane(), sent->id());
  EXPECT_EQ(control.lane_open().shared_identity(), 0u);
  EXPECT_EQ(control.lane_open().control_number(), 1u);
  EXPECT_EQ(records[1].kind, RecordKind::kData);
  EXPECT_EQ(records[1].lane, sent->id());
  RunAt(clock_.now);
  ASSERT_EQ(handler_.told.size(), 1u);
  EXPECT_EQ(handler_.told[0].code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(handler_.told[0].message().find("too many under way"),
            std::string::npos);

  channel_->refuses = false;
  const std::shared_ptr<Lane> mapped = Open(2);
  Publish(*mapped, 64);
  EXPECT_TRUE(mapped->mapped());
  const std::vector<v1::Control> controls = TakeControls();
  ASSERT_EQ(controls.size(), 1u);
  EXPECT_NE(controls[0].lane_open().shared_identity(), 0u);
  EXPECT_EQ(controls[0].lane_open().control_number(), 2u);
}

TEST_F(ShmLinkTest, LossyLaneWhoseDescriptorsCannotBePassedIsSent) {
  channel_->refuses = true;
  const std::shared_ptr<Lane> lane = OpenLossy();
  for (int i = 0; i < 2; ++i) Publish(*lane, 64);
  EXPECT_FALSE(lane->mapped());
  size_t frames_bytes = 0;
  for (const Wire::Record& record : wire_.TakeRecords()) {
    if (record.kind == RecordKind::kData) frames_bytes += record.body.size();
  }
  EXPECT_EQ(frames_bytes, 2 * AlignedFrameBytes(sizeof(FrameHeader) + 64));
}

TEST_F(ShmLinkTest, LoansWhoseDescriptorsCannotBePassedAreNotAnnounced) {
  const std::shared_ptr<Lane> lane = Open(1);
  Publish(*lane, 64);
  wire_.TakeRecords();
  channel_->refuses = true;
  const auto memory =
      std::make_shared<LoanMemory>(7, *memory_.Create(kLaneBytes));
  for (int i = 0; i < 2; ++i) {
    link_->OnLoanMemory(*lane, memory);
    RunAt(clock_.now);
  }
  EXPECT_EQ(channel_->tries, 2) << "the lane's and one for the loans";
  // One message, since the frames of the lane count on it.
  const std::vector<v1::Control> controls = TakeControls();
  ASSERT_EQ(controls.size(), 1u);
  EXPECT_EQ(controls[0].loan_memory_closed().memory(), 7u);
  EXPECT_TRUE(lane->mapped());
}

}  // namespace
}  // namespace mycelium
