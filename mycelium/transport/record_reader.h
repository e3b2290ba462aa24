#ifndef MYCELIUM_TRANSPORT_RECORD_READER_H_
#define MYCELIUM_TRANSPORT_RECORD_READER_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mycelium/codec/frame_format.h"

namespace mycelium {

// Cuts the bytes of a connection into records, and the bodies of data records
// into frames. Keeps no bytes: what it cannot use yet stays with the caller.
//
// Thread safety: none; it belongs to the thread that reads the connection.
class RecordReader final {
 public:
  // What became of the bytes at the front of a data record's body.
  struct FrameStep {
    enum class What {
      kTook,      // `bytes` of them are a frame with its padding.
      kNeedMore,  // The frame is not complete.
      kError,     // See `error`.
    };
    What what;
    size_t bytes = 0;
    absl::Status error;
  };

  class Handler {
   public:
    virtual ~Handler() = default;
    virtual absl::Status OnControlRecord(absl::Span<const std::byte> body) = 0;
    virtual absl::Status OnAckRecord(absl::Span<const std::byte> body) = 0;
    virtual absl::Status OnDataRecord(uint32_t lane, uint64_t position) = 0;
    // `bytes`: what has arrived of the rest of the body. Not empty.
    virtual FrameStep OnFrameBytes(absl::Span<const std::byte> bytes) = 0;
  };

  // Reads as much of `bytes` as is complete. Adds to `*used` what it is done
  // with, also when it returns an error, after which nothing more can be read.
  // DATA_LOSS: the bytes are not of our making.
  absl::Status Read(absl::Span<const std::byte> bytes, Handler& handler,
                    size_t* used);

  // Forgets a record that is half read: the connection has ended.
  void Reset() { body_left_ = 0; }

 private:
  absl::Status ReadHeader(const RecordHeader& header,
                          absl::Span<const std::byte> body, Handler& handler,
                          size_t* used);

  uint64_t body_left_ = 0;  // Of the data record that is being read.
};

// A serialised v1::Control with an empty Doorbell, which is all that Doorbell
// can be: it is sent and recognised without Protobuf, which would allocate.
inline constexpr absl::string_view kDoorbellBytes("\x7a\x00", 2);

// The largest control or acknowledgement record.
inline constexpr size_t kControlBytesMax = 1 << 20;

// Reads the header of a control record at the front of `bytes`. False: not
// there yet. DATA_LOSS: something else is there, or the body is larger than
// kControlBytesMax. RESOURCE_EXHAUSTED: it is larger than `body_bytes_max`.
absl::Status CheckControlHeader(absl::Span<const std::byte> bytes,
                                size_t body_bytes_max, bool* complete,
                                size_t* body_bytes);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_RECORD_READER_H_
