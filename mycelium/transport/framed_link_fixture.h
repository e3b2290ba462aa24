#ifndef MYCELIUM_TRANSPORT_FRAMED_LINK_FIXTURE_H_
#define MYCELIUM_TRANSPORT_FRAMED_LINK_FIXTURE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/codec/frame_encoder.h"
#include "mycelium/transport/framed_link.h"
#include "mycelium/transport/handles_all.h"
#include "mycelium/transport/lane/fake_shared_memory.h"
#include "tests/support/driven_clock.h"

namespace mycelium {

inline constexpr size_t kLaneBytes = 64 * 1024;
inline constexpr int64_t kAckDelayNs = 1'000'000;
inline constexpr int64_t kDrainNs = 5'000'000'000;

// The other end of the connection.
struct Wire {
  struct Record {
    RecordKind kind;
    uint32_t lane;
    uint64_t position;
    std::string body;
  };

  // What was sent since the last call. It must end where a record does.
  std::vector<Record> TakeRecords() {
    std::vector<Record> records;
    size_t at = 0;
    while (at < sent.size()) {
      RecordHeader header;
      EXPECT_GE(sent.size() - at, sizeof header);
      std::memcpy(&header, sent.data() + at, sizeof header);
      EXPECT_EQ(header.magic, kRecordMagic);
      at += sizeof header;
      EXPECT_GE(sent.size() - at, header.body_bytes);
      records.push_back({static_cast<RecordKind>(header.kind), header.lane,
                         header.position, sent.substr(at, header.body_bytes)});
      at += header.body_bytes;
    }
    sent.clear();
    sends = 0;
    return records;
  }

  void Deliver(RecordHeader header, const std::string& body,
               bool is_taken = true) {
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
    bytes += body;
    if (gathers) {
      gathered += bytes;
      return;
    }
    Read(bytes, is_taken);
  }
  // All that `deliver` delivers arrives in one read.
  template <typename Deliver>
  void Together(Deliver deliver) {
    gathers = true;
    deliver();
    gathers = false;
    Read(std::exchange(gathered, ""), /*is_taken=*/true);
  }
  void Read(const std::string& bytes, bool is_taken) {
    const size_t used = handler->OnBytes(absl::MakeConstSpan(
        reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()));
    if (is_taken) {
      EXPECT_EQ(used, bytes.size());
    }
  }

  Channel::Handler* handler = nullptr;
  std::string sent;
  int sends = 0;
  size_t takes = ~size_t{0};  // Before it is full.
  bool gathers = false;
  std::string gathered;
};

class WireChannel : public Channel {
 public:
  explicit WireChannel(Wire& wire) : wire_(wire) {}
  void Start(Handler& handler) override { wire_.handler = &handler; }
  absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces) override {
    size_t taken = 0;
    ++wire_.sends;
    for (const iovec& piece : pieces) {
      const size_t part = std::min(piece.iov_len, wire_.takes);
      wire_.sent.append(static_cast<const char*>(piece.iov_base), part);
      wire_.takes -= part;
      taken += part;
    }
    return taken;
  }
  bool passes_descriptors() const override { return true; }
  absl::StatusOr<size_t> SendDescriptors(
      std::array<int, 2>, absl::Span<const iovec> pieces) override {
    return Send(pieces);
  }
  void Close() override {}
  const std::string& peer_description() const override { return description_; }

 private:
  Wire& wire_;
  const std::string description_ = "pid 1, uid 2";
};

// Lanes in memory that nobody else maps.
class SharedByNobody : public SharedMemory {
 public:
  absl::StatusOr<std::shared_ptr<SharedLaneMemory>> Create(
      size_t bytes) override {
    return std::make_shared<test::FakeSharedMemory>(bytes);
  }
  absl::StatusOr<std::shared_ptr<LaneMemory>> Map(Fd, Fd, size_t) override {
    return absl::UnimplementedError("nobody has published anything");
  }
};

// Asks the kernel, but never sleeps.
class SleeplessWaiter final : public Waiter {
 public:
  void WaitWord(const std::atomic<uint32_t>&, uint32_t, TimeNs) override {}
  void WakeWord(const std::atomic<uint32_t>&) override {}
  int64_t WaitEpoll(int epoll_fd, epoll_event* events, int events_max,
                    TimeNs deadline) override {
    would_sleep = deadline > 0;
    return Environment::Real().waiter.WaitEpoll(epoll_fd, events, events_max,
                                                /*deadline=*/0);
  }

  bool would_sleep = false;  // The last time.
};

class FramedLinkTest : public ::testing::Test {
 protected:
  FramedLinkTest() {
    link_ = std::make_unique<FramedLink>(environment_, *loop_, LinkOptions(),
                                         handler_);
    v1::Hello hello;
    hello.set_incarnation(2);
    link_->Attach(std::make_shared<WireChannel>(wire_), hello, 0);
    one_ = Open(1);
    two_ = Open(2);
    // Announces them.
    Publish(*one_, 8);
    Publish(*two_, 8);
    wire_.TakeRecords();
  }

  static FramedLink::Options LinkOptions() {
    FramedLink::Options options;
    options.self = "feed";
    options.peer = "brain";
    options.transport = "unix";
    options.incarnation = 1;
    options.frame_bytes_max = kLaneBytes / 2;
    options.drain_ns = kDrainNs;
    return options;
  }

  std::shared_ptr<Lane> Open(uint32_t subscription) {
    Lane::Options options;
    options.capacity_bytes = kLaneBytes;
    return *link_->OpenLane(subscription, options);
  }

  // Returns where the frame ends.
  static uint64_t Publish(Lane& lane, size_t payload_bytes) {
    const size_t bytes = sizeof(FrameHeader) + payload_bytes;
    EXPECT_EQ(lane.TryClaim(bytes), Lane::ClaimResult::kClaimed);
    EncodeFrame(FrameFields(), lane.next_sequence(), payload_bytes,
                lane.Room());
    lane.Commit();
    lane.Ring();
    return lane.committed();
  }

  // The peer has received, and handled, what lies before `position`.
  void Acknowledge(const Lane& lane, uint64_t position) {
    Acknowledge(lane, position, position);
  }
  void Acknowledge(const Lane& lane, uint64_t received, uint64_t handled) {
    AckEntry ack = {};
    ack.lane = lane.id();
    ack.received = received;
    ack.handled = handled;
    wire_.Deliver(MakeRecordHeader(RecordKind::kAck, sizeof ack),
                  {reinterpret_cast<const char*>(&ack), sizeof ack});
  }

  void PeerOpensLane() {
    v1::Control control;
    control.mutable_lane_open()->set_lane(9);
    control.mutable_lane_open()->set_next_sequence(1);
    control.mutable_lane_open()->set_capacity_bytes(kLaneBytes);
    const std::string body = control.SerializeAsString();
    wire_.Deliver(MakeRecordHeader(RecordKind::kControl, body.size()), body);
  }
  void PeerSaysGoodbye() {
    v1::Control control;
    control.mutable_goodbye();
    const std::string body = control.SerializeAsString();
    wire_.Deliver(MakeRecordHeader(RecordKind::kControl, body.size()), body);
  }
  // A frame, with what alignment adds: one of 100 bytes takes 128.
  void PeerPublishes(size_t frame_bytes, bool is_taken = true,
                     uint32_t lane = 9) {
    std::string frame(AlignedFrameBytes(frame_bytes), '\0');
    EncodeFrame(FrameFields(), ++peer_sequence_,
                frame_bytes - sizeof(FrameHeader),
                absl::MakeSpan(reinterpret_cast<std::byte*>(frame.data()),
                               frame_bytes));
    const auto commit = static_cast<uint32_t>(frame_bytes);
    std::memcpy(frame.data(), &commit, sizeof commit);
    RecordHeader header = MakeRecordHeader(RecordKind::kData, frame.size());
    header.lane = lane;
    header.position =
        std::exchange(peer_position_, peer_position_ + frame.size());
    wire_.Deliver(header, frame, is_taken);
  }
  void RunAt(TimeNs now) {
    clock_.now = now;
    while (loop_->RunOnce(0, 0) == EventLoop::Ran::kSomething) continue;
  }

  // Whether the loop has nothing to do until somebody wakes it.
  bool MaySleep() {
    (void)loop_->RunOnce(kNever, 0);
    return waiter_.would_sleep;
  }

  test::DrivenClock clock_;
  SleeplessWaiter waiter_;
  Environment environment_{Environment::Real().sys, clock_, waiter_};
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create(environment_);
  Wire wire_;
  test::HandlesAll handler_;
  std::unique_ptr<FramedLink> link_;
  std::shared_ptr<Lane> one_;
  std::shared_ptr<Lane> two_;
  uint64_t peer_sequence_ = 0;
  uint64_t peer_position_ = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_FRAMED_LINK_FIXTURE_H_
