#ifndef TESTS_CONFORMANCE_RAW_PEER_H_
#define TESTS_CONFORMANCE_RAW_PEER_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "mycelium/codec/frame_format.h"
#include "proto/mycelium/v1/control.pb.h"

namespace mycelium::test {

// The bytes of one frame, padded as in a record. `frame_bytes`: the size that
// the header announces; the true size if it is not given.
struct RawFrame {
  uint64_t sequence = 1;
  uint32_t publisher = 1;
  uint64_t digest_prefix = 0;
  uint16_t flags = 0;
  uint16_t extension_bytes = 0;
  std::string payload;
  std::optional<uint32_t> frame_bytes;
};
std::string BytesOf(const RawFrame& frame);

// The bytes of one record. `body_bytes`: the size that the header announces.
std::string RecordBytes(RecordKind kind, absl::string_view body,
                        uint32_t lane = 0, uint64_t position = 0,
                        std::optional<uint32_t> body_bytes = std::nullopt);
std::string ControlBytes(const v1::Control& control);

// A Hello as a node that keeps to the rules would send it.
v1::Hello HelloFrom(const std::string& node, uint64_t incarnation = 1);

// One connection that speaks the wire format by hand, right or wrong: what
// another implementation, or a broken one, could send. Shares no code with the
// links and handshakes that it tests, only the layout of the bytes.
//
// Every call that reads has one overall deadline, long enough for any machine.
//
// Thread safety: none.
class RawPeer final {
 public:
  // Connects to a Unix socket.
  explicit RawPeer(const std::string& path);
  RawPeer(RawPeer&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        arrived_(std::move(other.arrived_)),
        descriptors_(std::move(other.descriptors_)) {}
  RawPeer& operator=(RawPeer&&) = delete;
  ~RawPeer() { Close(); }

  bool connected() const { return fd_ >= 0; }

  // False if the other side has gone.
  bool Send(absl::string_view bytes);
  // The same with descriptors; the caller still owns them.
  bool SendWithDescriptors(absl::string_view bytes,
                           const std::vector<int>& descriptors);
  bool SendControl(const v1::Control& control) {
    return Send(ControlBytes(control));
  }
  bool SendFrame(uint32_t lane, uint64_t position, const RawFrame& frame) {
    return Send(RecordBytes(RecordKind::kData, BytesOf(frame), lane, position));
  }
  bool SendAck(uint32_t lane, uint64_t received, uint64_t handled);

  // Says Hello and returns the answer: a Hello, a Reject, or nothing if the
  // other side has closed or does not answer in time.
  v1::Control SayHello(const v1::Hello& hello);

  struct Record {
    RecordHeader header;
    std::string body;
    v1::Control control;  // Of a control record.
  };
  // The next record; none if the other side has closed, or if no record arrives
  // in time.
  std::optional<Record> Read() { return ReadBefore(SoonEnough()); }
  // The descriptors that came with the bytes read so far. The caller closes
  // them.
  std::vector<int> TakeDescriptors() { return std::exchange(descriptors_, {}); }
  // Skips records until `wanted` accepts one; none in the same cases as Read().
  template <typename Wanted>
  std::optional<Record> ReadUntil(Wanted wanted) {
    const Deadline deadline = SoonEnough();
    while (std::optional<Record> record = ReadBefore(deadline)) {
      if (wanted(*record)) return record;
    }
    return std::nullopt;
  }
  std::optional<Record> ReadUntilControl(v1::Control::BodyCase body) {
    return ReadUntil([&](const Record& record) {
      return record.control.body_case() == body;
    });
  }

  // Whether the other side closes within `timeout_ms`. Takes what it sends
  // until then.
  bool ClosedWithin(int timeout_ms);
  // Whether it closes at all.
  bool Closed();

  void Close();

 private:
  using Deadline = std::chrono::steady_clock::time_point;
  static Deadline SoonEnough();

  std::optional<Record> ReadBefore(Deadline deadline);
  // Takes what has arrived. False at the end of the stream, or if nothing came
  // in time.
  bool Receive(Deadline deadline);

  int fd_ = -1;
  std::string arrived_;
  std::vector<int> descriptors_;
};

}  // namespace mycelium::test

#endif  // TESTS_CONFORMANCE_RAW_PEER_H_
