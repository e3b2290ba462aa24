#ifndef MYCELIUM_TRANSPORT_GRPC_LINK_MESSAGE_ENCODER_H_
#define MYCELIUM_TRANSPORT_GRPC_LINK_MESSAGE_ENCODER_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/transport/grpc/byte_sink.h"

namespace mycelium {

// Turns the records that a link or a handshake writes into items of a
// LinkMessage. The records are our own, so they are not checked; no header, no
// control or acknowledgement body and no frame lies in two pieces.
//
// Thread safety: none.
class LinkMessageEncoder final {
 public:
  // Appends whole records and frames from the front of `pieces` to `*message`,
  // until that has `bytes_max` or more, and returns how many bytes of `pieces`
  // that were. What follows them is offered again.
  size_t Encode(absl::Span<const iovec> pieces, size_t bytes_max,
                ByteSink* message);

  // A new, empty message is filled next.
  void Begin() { lane_bytes_ = items_ = 0; }

 private:
  // How many bytes of the data record's body at `body` were taken.
  size_t EncodeFrames(absl::Span<const char> body, size_t bytes_max,
                      ByteSink* message);

  RecordHeader data_ = {};  // Whose body is being taken, from `position` on …
  size_t body_left_ = 0;    // … to the end, so many bytes later.
  size_t lane_bytes_ = 0;   // What the envelopes of the message take.
  size_t items_ = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_LINK_MESSAGE_ENCODER_H_
