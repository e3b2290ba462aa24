// Arbitrary bytes where a LinkMessage of a gRPC peer is expected.
//
// Input: a byte that chooses the size of the pieces in which the bytes lie,
// then the message.

#include <cstring>
#include <string>

#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/transport/grpc/link_message_decoder.h"
#include "mycelium/transport/grpc/link_message_encoder.h"
#include "mycelium/transport/grpc/link_message_format.h"
#include "mycelium/transport/record_reader.h"
#include "proto/mycelium/v1/link.pb.h"
#include "tests/fuzz/input.h"

namespace mycelium::test {
namespace {

constexpr size_t kFrameBytesMax = 4096;

// The decoder's output must be what a link reads.
class Records final : public RecordReader::Handler {
 public:
  absl::Status OnControlRecord(absl::Span<const std::byte> body) override {
    Touch(body);
    has_control_ = true;
    return absl::OkStatus();
  }
  absl::Status OnAckRecord(absl::Span<const std::byte> body) override {
    Require(body.size() == sizeof(AckEntry), "one entry for each Ack");
    return absl::OkStatus();
  }
  absl::Status OnDataRecord(uint32_t, uint64_t) override {
    return absl::OkStatus();
  }
  RecordReader::FrameStep OnFrameBytes(
      absl::Span<const std::byte> bytes) override {
    FrameView frame;
    Require(DecodeFrame(bytes, kFrameBytesMax, kFrameFlagsOnWire, &frame) ==
                FrameVerdict::kOk,
            "frames are well formed");
    const size_t aligned = AlignedFrameBytes(frame.header.frame_bytes);
    Require(aligned <= bytes.size(), "frames are whole");
    has_extension_ |= !frame.extension.empty();
    return {RecordReader::FrameStep::What::kTook, aligned, {}};
  }
  bool has_extension() const { return has_extension_; }
  bool has_control() const { return has_control_; }

 private:
  bool has_control_ = false;
  bool has_extension_ = false;
};

bool Decode(absl::Span<const std::byte> message, int block_bytes,
            ByteSink* records) {
  TightCopy copy(message);
  google::protobuf::io::ArrayInputStream in(
      copy.bytes().data(), static_cast<int>(message.size()), block_bytes);
  const absl::Status status =
      LinkMessageDecoder(kFrameBytesMax).Decode(in, message.size(), records);
  Require(status.ok() || absl::IsDataLoss(status),
          "what is wrong is DATA_LOSS");
  return status.ok();
}

// Encodes the records as a link would hand them over, and decodes them again.
void ExpectRoundTrip(const ByteSink& records, bool has_control) {
  std::string bytes(reinterpret_cast<const char*>(records.data()),
                    records.size());
  LinkMessageEncoder encoder;
  ByteSink again;
  size_t taken = 0;
  while (taken < bytes.size()) {
    ByteSink message;
    encoder.Begin();
    const iovec piece = {&bytes[taken], bytes.size() - taken};
    const size_t more =
        encoder.Encode(absl::MakeConstSpan(&piece, 1), 64 << 20, &message);
    Require(more > 0, "each message takes something");
    taken += more;
    Require(Decode(message.span(), -1, &again), "what we encode decodes");
    // Only the link checks the contents of a control message.
    Require(
        has_control || v1::LinkMessage().ParseFromArray(
                           message.data(), static_cast<int>(message.size())),
        "what we encode is a LinkMessage");
  }
}

}  // namespace
}  // namespace mycelium::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mycelium;
  using namespace mycelium::test;
  if (size == 0) return 0;
  const absl::Span<const std::byte> message(
      reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  const int block_bytes = data[0] % 16 == 0 ? -1 : data[0] % 16;
  ByteSink records;
  if (!Decode(message, block_bytes, &records)) return 0;
  Require(records.size() <=
              kEnvelopesBytesMax + kFrameBytesMax + 48 * kItemsMax + size,
          "memory is bounded");
  Records handler;
  size_t used = 0;
  const absl::Status read = RecordReader().Read(records.span(), handler, &used);
  Require(read.ok() && used == records.size(), "all of it are records");
  // This version sends no extensions.
  if (!handler.has_extension()) {
    ExpectRoundTrip(records, handler.has_control());
  }
  return 0;
}
