#ifndef MYCELIUM_TRANSPORT_OUTGOING_H_
#define MYCELIUM_TRANSPORT_OUTGOING_H_

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mycelium/codec/frame_format.h"

namespace mycelium {

// What a link is writing to its channel: pieces of memory, mostly of lanes,
// that do not change until all of them are written. Allocates nothing in steady
// state.
//
// Thread safety: none.
//
// Ownership: borrows what Add() is given, until Clear() or done(), and holds
// each keeper until its piece is written.
class Outgoing final {
 public:
  static constexpr size_t kPiecesMax = 32;

  // Pieces that lanes leave free, for control messages and acknowledgements.
  static constexpr size_t kPiecesReserved = 6;

  bool done() const { return first_ == count_; }
  bool has_room_for_data() const {
    return count_ + kPiecesReserved <= kPiecesMax;
  }
  size_t count() const { return count_; }

  void Clear();
  // `keeper`: see Channel::SendKept().
  void Add(const void* bytes, size_t bytes_count,
           std::shared_ptr<const void> keeper = nullptr);

  // Adds a copy of a record's header. Add() follows, for the record's body.
  void AddHeader(const RecordHeader& header);

  // Moves the pieces from number `piece` on before those that came first.
  void MoveToFront(size_t piece);

  // What is left to be written. Consume() says how much of that was written.
  absl::Span<const iovec> pieces() const {
    return absl::MakeConstSpan(pieces_.data() + first_, count_ - first_);
  }
  // The keeper of each of these, or null.
  absl::Span<const std::shared_ptr<const void>> keepers() const {
    return absl::MakeConstSpan(keepers_.data() + first_, count_ - first_);
  }
  void Consume(size_t bytes);

  // Two descriptors that go with the first byte.
  struct Passed {
    std::array<int, 2> descriptors = {-1, -1};
    std::shared_ptr<const void> keeper;  // Keeps them open; or null.
    bool is_lane = false;                // Else of memory of loans.
    uint32_t id = 0;                     // Of that lane, or of that memory.
  };
  std::optional<Passed> passed;

  // Has other records in place of `control`.
  // REQUIRES: `control` is the first piece, and nothing of it is written.
  void ReplaceControl(std::string records);

  // Bodies that are made for sending only; Add() takes them from here.
  std::string control;
  std::string goodbye;
  std::vector<AckEntry> acks;

 private:
  std::array<iovec, kPiecesMax> pieces_;
  std::array<std::shared_ptr<const void>, kPiecesMax> keepers_;
  bool has_keepers_ = false;
  size_t first_ = 0;
  size_t count_ = 0;
  std::array<RecordHeader, kPiecesMax> headers_;
  size_t header_count_ = 0;
};

inline RecordHeader MakeRecordHeader(RecordKind kind, size_t body_bytes) {
  RecordHeader header = {};
  header.magic = kRecordMagic;
  header.kind = static_cast<uint8_t>(kind);
  header.body_bytes = static_cast<uint32_t>(body_bytes);
  return header;
}

// Appends a control message as a whole record.
void AppendControlRecord(absl::string_view control, std::string* records);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_OUTGOING_H_
