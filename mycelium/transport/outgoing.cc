#include "mycelium/transport/outgoing.h"

#include <algorithm>
#include <utility>

namespace mycelium {

void Outgoing::Clear() {
  if (has_keepers_) keepers_.fill(nullptr);
  has_keepers_ = false;
  first_ = count_ = header_count_ = 0;
  control.clear();
  goodbye.clear();
  acks.clear();
  passed.reset();
}

void Outgoing::ReplaceControl(std::string records) {
  control = std::move(records);
  pieces_[first_] = {control.data(), control.size()};
}

void Outgoing::Add(const void* bytes, size_t bytes_count,
                   std::shared_ptr<const void> keeper) {
  pieces_[count_].iov_base = const_cast<void*>(bytes);
  pieces_[count_].iov_len = bytes_count;
  if (keeper != nullptr) {
    keepers_[count_] = std::move(keeper);
    has_keepers_ = true;
  }
  ++count_;
}

void Outgoing::AddHeader(const RecordHeader& header) {
  RecordHeader& kept = headers_[header_count_++];
  kept = header;
  Add(&kept, sizeof kept);
}

void Outgoing::MoveToFront(size_t piece) {
  std::rotate(pieces_.begin(), pieces_.begin() + piece,
              pieces_.begin() + count_);
  if (!has_keepers_) return;
  std::rotate(keepers_.begin(), keepers_.begin() + piece,
              keepers_.begin() + count_);
}

void Outgoing::Consume(size_t bytes) {
  while (bytes > 0) {
    iovec& piece = pieces_[first_];
    const size_t taken = std::min(bytes, piece.iov_len);
    piece.iov_base = static_cast<char*>(piece.iov_base) + taken;
    piece.iov_len -= taken;
    bytes -= taken;
    if (piece.iov_len > 0) continue;
    if (has_keepers_) keepers_[first_] = nullptr;
    ++first_;
  }
}

void AppendControlRecord(absl::string_view control, std::string* records) {
  const RecordHeader header =
      MakeRecordHeader(RecordKind::kControl, control.size());
  records->append(reinterpret_cast<const char*>(&header), sizeof header);
  records->append(control.data(), control.size());
}

}  // namespace mycelium
