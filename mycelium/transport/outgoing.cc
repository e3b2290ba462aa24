#include "mycelium/transport/outgoing.h"

#include <algorithm>

namespace mycelium {

void Outgoing::Clear() {
  first_ = count_ = header_count_ = 0;
  control.clear();
  goodbye.clear();
  acks.clear();
  descriptors.reset();
}

void Outgoing::Add(const void* bytes, size_t bytes_count) {
  pieces_[count_].iov_base = const_cast<void*>(bytes);
  pieces_[count_].iov_len = bytes_count;
  ++count_;
}

RecordHeader& Outgoing::AddHeader(RecordKind kind, size_t body_bytes) {
  RecordHeader& header = headers_[header_count_++];
  header = RecordHeader{};
  header.magic = kRecordMagic;
  header.kind = static_cast<uint8_t>(kind);
  header.body_bytes = static_cast<uint32_t>(body_bytes);
  Add(&header, sizeof header);
  return header;
}

void Outgoing::MoveToFront(size_t piece) {
  std::rotate(pieces_.begin(), pieces_.begin() + piece,
              pieces_.begin() + count_);
}

void Outgoing::Consume(size_t bytes) {
  while (bytes > 0) {
    iovec& piece = pieces_[first_];
    const size_t taken = std::min(bytes, piece.iov_len);
    piece.iov_base = static_cast<char*>(piece.iov_base) + taken;
    piece.iov_len -= taken;
    bytes -= taken;
    if (piece.iov_len == 0) ++first_;
  }
}

void AppendControlRecord(absl::string_view control, std::string* records) {
  RecordHeader header = {};
  header.magic = kRecordMagic;
  header.kind = static_cast<uint8_t>(RecordKind::kControl);
  header.body_bytes = static_cast<uint32_t>(control.size());
  records->append(reinterpret_cast<const char*>(&header), sizeof header);
  records->append(control.data(), control.size());
}

}  // namespace mycelium
