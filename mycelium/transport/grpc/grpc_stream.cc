#include "mycelium/transport/grpc/grpc_stream.h"

#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/transport/handshake.h"
#include "mycelium/transport/outgoing.h"

namespace mycelium {
namespace {

// An item around the record that a handshake message is.
constexpr size_t kFirstMessageBytesMax = kHandshakeBytesMax + 16;
// Buffers that are kept for the next messages, and how large one may be.
constexpr size_t kSparesMax = 2;
constexpr size_t kSpareBytesMax = 512 * 1024;

// What is left of `pieces` behind the first `bytes`.
absl::Span<const iovec> Rest(absl::Span<const iovec> pieces, size_t bytes,
                             std::array<iovec, Outgoing::kPiecesMax>* copy) {
  size_t count = 0;
  for (const iovec& piece : pieces) {
    const size_t skipped = std::min(bytes, piece.iov_len);
    bytes -= skipped;
    if (skipped == piece.iov_len) continue;
    (*copy)[count].iov_base = static_cast<char*>(piece.iov_base) + skipped;
    (*copy)[count++].iov_len = piece.iov_len - skipped;
  }
  return absl::MakeConstSpan(copy->data(), count);
}

size_t BytesOf(absl::Span<const iovec> pieces) {
  size_t bytes = 0;
  for (const iovec& piece : pieces) bytes += piece.iov_len;
  return bytes;
}

// gRPC keeps the bytes until they are out, longer than the write lasts.
::grpc::ByteBuffer BufferOf(ByteSink bytes) {
  auto* const kept = new ByteSink(std::move(bytes));
  ::grpc::Slice slice(
      kept->data(), kept->size(),
      [](void* sink) { delete static_cast<ByteSink*>(sink); }, kept);
  return ::grpc::ByteBuffer(&slice, 1);
}

}  // namespace

// ---------------------------------------------------------------------------
// Sending

absl::StatusOr<size_t> GrpcStream::Send(absl::Span<const iovec> pieces) {
  const size_t given = BytesOf(pieces);
  std::array<iovec, Outgoing::kPiecesMax> rest;
  size_t taken = 0;
  while (true) {
    {
      MutexLock lock(mutex_);
      if (write_over_ || closing_) {
        return absl::UnavailableError(
            absl::StrCat("the connection to ", peer_, " is over"));
      }
      taken += encoder_.Encode(Rest(pieces, taken, &rest), kGatherBytesMax,
                               &gathered_);
      if (writing_ || gathered_.empty()) {
        wants_room_ = taken < given;
        return taken;
      }
      TakeForWriting();
    }
    StartWriting(&outgoing_);
    if (taken == given) return taken;
  }
}

void GrpcStream::TakeForWriting() {
  writing_ = true;
  outgoing_ = BufferOf(std::move(gathered_));
  gathered_ = ByteSink();
  encoder_.Begin();
}

void GrpcStream::WriteDone(bool ok) {
  bool again = false;
  bool end;
  {
    MutexLock lock(mutex_);
    writing_ = false;
    outgoing_.Clear();
    if (!ok) write_over_ = true;
    if (ok && !gathered_.empty()) {
      TakeForWriting();
      again = true;
    }
    if (wants_room_) {
      wants_room_ = false;
      has_room_ = true;
      Notify();
    }
    end = MayEnd();
  }
  if (again) StartWriting(&outgoing_);
  if (end) StartEnding();
}

// ---------------------------------------------------------------------------
// Receiving

void GrpcStream::Begun() {
  bool claimed;
  {
    MutexLock lock(mutex_);
    begun_ = true;
    claimed = ClaimRead();
  }
  if (claimed) StartClaimedRead();
}

bool GrpcStream::MayRead() const {
  if (!begun_ || reading_ || read_over_ || ended_) return false;
  if (closing_) return true;  // To its end; nothing of it is kept.
  return (handshaken_ || !has_read_) && arrived_bytes_ < kArrivedBytesMax;
}

bool GrpcStream::ClaimRead() {
  if (!MayRead()) return false;
  reading_ = true;
  ++starting_reads_;
  return true;
}

void GrpcStream::StartClaimedRead() {
  StartReading(&incoming_);
  bool end;
  {
    MutexLock lock(mutex_);
    --starting_reads_;
    end = MayEnd();
  }
  if (end) StartEnding();
}

absl::Status GrpcStream::Decode(ByteSink* records) {
  const size_t bytes = incoming_.Length();
  bool handshaken;
  {
    MutexLock lock(mutex_);
    handshaken = handshaken_;
    if (!spare_.empty()) {
      *records = std::move(spare_.back());
      spare_.pop_back();
    }
  }
  records->Truncate(0);
  if (!handshaken && bytes > kFirstMessageBytesMax) {
    return absl::DataLossError(absl::StrCat("the first message has ", bytes,
                                            " bytes, at most ",
                                            kHandshakeBytesMax));
  }
  ::grpc::ProtoBufferReader reader(&incoming_);
  return decoder_.Decode(reader, bytes, records);
}

void GrpcStream::ReadDone(bool ok) {
  ByteSink records;
  const absl::Status decoded =
      ok ? Decode(&records) : absl::UnavailableError("");
  bool again, end;
  {
    MutexLock lock(mutex_);
    reading_ = false;
    has_read_ = true;
    incoming_.Clear();
    if (!decoded.ok()) {
      read_over_ = true;
      if (ok) status_ = decoded;
    } else if (!closing_ && !records.empty()) {
      arrived_bytes_ += records.size();
      arrived_.push_back(std::move(records));
    }
    again = ClaimRead();
    Notify();
    end = MayEnd();
  }
  if (again) StartClaimedRead();
  if (!decoded.ok() && ok) Cancel();
  if (end) StartEnding();
}

bool GrpcStream::Take(ByteSink* records) {
  MutexLock lock(mutex_);
  if (arrived_.empty()) return false;
  *records = std::move(arrived_.front());
  arrived_.pop_front();
  return true;
}

void GrpcStream::GiveBack(ByteSink records) {
  bool again;
  {
    MutexLock lock(mutex_);
    arrived_bytes_ -= records.size();
    if (spare_.size() < kSparesMax && records.capacity() <= kSpareBytesMax) {
      spare_.push_back(std::move(records));
    }
    again = ClaimRead();
  }
  if (again) StartClaimedRead();
}

void GrpcStream::NoteHandshaken() {
  bool again;
  {
    MutexLock lock(mutex_);
    handshaken_ = true;
    again = ClaimRead();
  }
  if (again) StartClaimedRead();
}

bool GrpcStream::IsOver(absl::Status* status) const {
  MutexLock lock(mutex_);
  if (!arrived_.empty() || !read_over_) return false;
  // Why is known when it has ended, but that may wait for a write.
  if (!ended_ && status_.ok()) return false;
  *status = status_;
  return true;
}

// ---------------------------------------------------------------------------
// The end

bool GrpcStream::MayEnd() {
  if (ending_ || writing_ || starting_reads_ > 0 || !begun_) return false;
  if (!read_over_ && !(closing_ && (gathered_.empty() || write_over_))) {
    return false;
  }
  write_over_ = true;
  ending_ = true;
  return true;
}

void GrpcStream::Close() {
  bool again, end;
  {
    MutexLock lock(mutex_);
    closing_ = true;
    arrived_.clear();
    again = ClaimRead();
    end = MayEnd();
  }
  if (again) StartClaimedRead();
  if (end) StartEnding();
}

void GrpcStream::Ended(const absl::Status& status) {
  MutexLock lock(mutex_);
  ended_ = true;
  read_over_ = write_over_ = true;
  if (status_.ok()) {
    status_ = status.ok() ? absl::UnavailableError(
                                absl::StrCat("the peer (", peer_, ") closed"))
                          : status;
  }
  Notify();
}

bool GrpcStream::has_ended() const {
  MutexLock lock(mutex_);
  return ended_;
}

void GrpcStream::ForgetLoop() {
  MutexLock lock(mutex_);
  loop_ = nullptr;
}

void GrpcStream::TellOwner() {
  MutexLock lock(mutex_);
  Notify();
}

void GrpcStream::Notify() {
  if (posted_ || loop_ == nullptr || closing_) return;
  posted_ = true;
  loop_->Post([self = shared_from_this()] {
    bool is_writable;
    {
      MutexLock lock(self->mutex_);
      self->posted_ = false;
      is_writable = self->has_room_;
      self->has_room_ = false;
    }
    if (self->owner_ != nullptr) self->owner_->OnStream(is_writable);
  });
}

}  // namespace mycelium
