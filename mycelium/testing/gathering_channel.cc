#include "mycelium/testing/gathering_channel.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mycelium {

// ---------------------------------------------------------------------------
// GatheringStream

void GatheringStream::Start() { inner_->Start(*this); }

absl::StatusOr<size_t> GatheringStream::Send(absl::Span<const iovec> pieces) {
  if (!end_.ok() || on_end_ != nullptr) {
    return absl::UnavailableError(
        absl::StrCat("the connection to ", peer(), " is over"));
  }
  size_t given = 0;
  for (const iovec& piece : pieces) given += piece.iov_len;
  size_t taken = Gather(pieces, 0);
  if (!writing_ && !gathered_.empty()) {
    StartBatch();
    taken += Gather(pieces, taken);
  }
  if (taken < given) {
    wants_room_ = true;
    sys_.Note(Happening::kBatchFull, gathered_.size());
  }
  return taken;
}

size_t GatheringStream::Gather(absl::Span<const iovec> pieces, size_t skip) {
  size_t taken = 0;
  for (const iovec& piece : pieces) {
    const size_t skipped = std::min(skip, piece.iov_len);
    skip -= skipped;
    const size_t left = piece.iov_len - skipped;
    if (left == 0) continue;
    const size_t room = gathered_pieces_ < kBatchPiecesMax
                            ? kBatchBytesMax - gathered_.size()
                            : 0;
    const size_t part = std::min(left, room);
    if (part == 0) break;
    gathered_.append(static_cast<const char*>(piece.iov_base) + skipped, part);
    ++gathered_pieces_;
    taken += part;
    if (part < left) break;
  }
  return taken;
}

bool GatheringStream::IsWriting() {
  wants_room_ |= writing_;
  return writing_;
}

void GatheringStream::StartBatch() {
  writing_ = true;
  WriteWord(static_cast<uint32_t>(gathered_.size()));
  out_ += gathered_;
  gathered_.clear();
  gathered_pieces_ = 0;
  Flush();
}

void GatheringStream::WriteWord(uint32_t word) {
  char bytes[sizeof word];
  std::memcpy(bytes, &word, sizeof word);
  out_.append(bytes, sizeof bytes);
}

void GatheringStream::Flush() {
  if (out_.empty() || !end_.ok()) return;
  const iovec piece = {out_.data(), out_.size()};
  const absl::StatusOr<size_t> sent = inner_->Send({&piece, 1});
  if (!sent.ok()) return;  // OnClosed() follows.
  out_.erase(0, *sent);
  EndIfWritten();
}

void GatheringStream::OnTaken() {
  writing_ = false;
  if (!gathered_.empty()) {
    sys_.Note(Happening::kGather, gathered_.size());
    StartBatch();
  }
  has_room_ |= std::exchange(wants_room_, false);
}

absl::Span<const std::byte> GatheringStream::Arrived() const {
  return absl::MakeConstSpan(
      reinterpret_cast<const std::byte*>(arrived_.data()), arrived_.size());
}

void GatheringStream::Use(size_t bytes) {
  arrived_.erase(0, bytes);
  SayTaken();
}

void GatheringStream::SayTaken() {
  if (!std::exchange(took_batch_, false)) return;
  WriteWord(0);
  Flush();
}

size_t GatheringStream::OnBytes(absl::Span<const std::byte> bytes) {
  const auto self = shared_from_this();  // Its owner may let go of it.
  size_t used = 0;
  uint32_t word;
  while (bytes.size() - used >= sizeof word) {
    std::memcpy(&word, bytes.data() + used, sizeof word);
    const size_t end = used + sizeof word + word;
    if (end > bytes.size()) break;  // Not the whole batch yet.
    if (word == 0) {
      OnTaken();
    } else {
      arrived_.append(
          reinterpret_cast<const char*>(bytes.data()) + used + sizeof word,
          word);
      took_batch_ = true;
    }
    used = end;
  }
  if (owner_ == nullptr) {
    Use(arrived_.size());
    EndIfWritten();
    return used;
  }
  if (std::exchange(has_room_, false)) owner_->OnRoom();
  if (owner_ != nullptr) owner_->OnStream();
  SayTaken();
  return used;
}

void GatheringStream::OnClosed(const absl::Status& status) {
  const auto self = shared_from_this();
  end_ = status;
  if (owner_ != nullptr) owner_->OnStream();
  EndIfWritten();
}

void GatheringStream::Finish(std::function<void()> on_end) {
  on_end_ = std::move(on_end);
  Use(arrived_.size());
  EndIfWritten();
}

void GatheringStream::EndIfWritten() {
  const bool written = !writing_ && gathered_.empty() && out_.empty();
  if (on_end_ == nullptr || (end_.ok() && !written)) return;
  inner_->Close();
  std::exchange(on_end_, [] {})();
}

void GatheringStream::Abandon() {
  on_end_ = nullptr;
  if (!gathered_.empty()) StartBatch();
  inner_->Close();
}

// ---------------------------------------------------------------------------
// GatheringChannel

GatheringChannel::~GatheringChannel() {
  *alive_ = false;
  Close();
}

void GatheringChannel::Start(Channel::Handler& handler) {
  const bool is_first = handler_ == nullptr;
  handler_ = &handler;
  told_end_ = false;
  if (closed_) return;
  if (is_first) {
    stream_->SetOwner(this);
    stream_->Start();
  } else {
    PostOffer();
  }
}

void GatheringChannel::PostOffer() {
  loop_.Post([this, alive = alive_] {
    if (*alive) OnStream();
  });
}

void GatheringChannel::Close() {
  if (closed_) return;
  closed_ = true;
  stream_->SetOwner(nullptr);
  finish_(stream_);
}

void GatheringChannel::OnRoom() { handler_->OnWritable(); }

void GatheringChannel::OnStream() {
  if (told_end_) return;
  while (!closed_ && !stream_->Arrived().empty()) {
    const size_t used = handler_->OnBytes(stream_->Arrived());
    if (closed_) return;
    stream_->Use(used);
    if (used == 0) break;
  }
  if (closed_ || stream_->end().ok()) return;
  const absl::Status status = stream_->end();
  told_end_ = true;
  handler_->OnClosed(status);
}

}  // namespace mycelium
