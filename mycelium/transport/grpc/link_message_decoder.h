#ifndef MYCELIUM_TRANSPORT_GRPC_LINK_MESSAGE_DECODER_H_
#define MYCELIUM_TRANSPORT_GRPC_LINK_MESSAGE_DECODER_H_

#include <cstddef>

#include "absl/status/status.h"
#include "google/protobuf/io/zero_copy_stream.h"
#include "mycelium/transport/grpc/byte_sink.h"

namespace mycelium {

// Turns a LinkMessage into records as a link and a handshake read them. What
// the bytes say is not believed: `records` grows only with bytes that are
// there, and only to what LinkMessage allows.
//
// Thread safety: none.
class LinkMessageDecoder final {
 public:
  // `frame_bytes_max`: the largest frame that this node accepts.
  explicit LinkMessageDecoder(size_t frame_bytes_max)
      : frame_bytes_max_(frame_bytes_max) {}

  // Appends whole records to `*records`. `bytes`: how many `message` has.
  // DATA_LOSS: they are no LinkMessage, or one that is too large. What was
  // appended is then of no use.
  absl::Status Decode(google::protobuf::io::ZeroCopyInputStream& message,
                      size_t bytes, ByteSink* records) const;

 private:
  const size_t frame_bytes_max_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_LINK_MESSAGE_DECODER_H_
