#ifndef MYCELIUM_TRANSPORT_GRPC_LINK_MESSAGE_ENCODER_H_
#define MYCELIUM_TRANSPORT_GRPC_LINK_MESSAGE_ENCODER_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/transport/grpc/byte_sink.h"

namespace mycelium {

// A payload that is not copied: it goes in front of byte `at` of the bytes that
// are, and stays where it lies as long as `keeper` is held.
struct KeptBytes {
  size_t at = 0;
  absl::Span<const char> bytes;
  std::shared_ptr<const void> keeper;
};

// Turns the records that a link or a handshake writes into items of a
// LinkMessage. The records are our own, so they are not checked; no header, no
// control or acknowledgement body and no frame lies in two pieces.
//
// But frames lie in a lane. If a peer acknowledges what it was not sent yet,
// their room is overwritten while they are encoded. So the header of each frame
// is read once and checked, and only what was read is relied on; bytes of the
// payload may change.
//
// Thread safety: none.
class LinkMessageEncoder final {
 public:
  using Keepers = absl::Span<const std::shared_ptr<const void>>;
  // Smaller payloads are copied: that takes less time than keeping them.
  static constexpr size_t kKeptBytesMin = 8 * 1024;

  // Appends whole records and frames from the front of `pieces` to `*message`,
  // until that has `bytes_max` or more, and returns how many bytes of `pieces`
  // that were. What follows them is offered again.
  //
  // `keepers`: one for each of the pieces, or none at all. A large payload of a
  // piece that has one goes to `*kept`; `*message` and `*kept` together are
  // then the message.
  size_t Encode(absl::Span<const iovec> pieces, size_t bytes_max,
                ByteSink* message, Keepers keepers = {},
                std::vector<KeptBytes>* kept = nullptr);

  // What was to be sent are no frames any more: the peer had their room freed.
  // Nothing more is encoded that it could make sense of.
  bool is_broken() const { return is_broken_; }

  // A new, empty message is filled next.
  void Begin() { lane_bytes_ = items_ = kept_bytes_ = 0; }

 private:
  // How many bytes of the data record's body at `body` were taken. 0 also if it
  // is broken.
  size_t EncodeFrames(absl::Span<const char> body, size_t bytes_max,
                      ByteSink* message,
                      const std::shared_ptr<const void>& keeper,
                      std::vector<KeptBytes>* kept);

  RecordHeader data_ = {};  // Whose body is being taken, from `position` on …
  size_t body_left_ = 0;    // … to the end, so many bytes later.
  size_t lane_bytes_ = 0;   // What the envelopes of the message take.
  size_t items_ = 0;
  size_t kept_bytes_ = 0;  // What goes to `*kept`.
  bool is_broken_ = false;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_LINK_MESSAGE_ENCODER_H_
