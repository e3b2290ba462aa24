#include "mycelium/transport/grpc/grpc_stream.h"

#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "mycelium/transport/grpc/written_message.h"
#include "mycelium/transport/handshake.h"
#include "mycelium/transport/outgoing.h"

namespace mycelium {
namespace {

// A handshake message is a record, with an item around it.
constexpr size_t kFirstMessageBytesMax = kHandshakeBytesMax + 16;
// Up to so many bytes are copied once more rather than lent to gRPC, which
// needs more memory for that.
constexpr size_t kCopiedBytesMax = 1024;

// What is left of some pieces, and their keepers, behind the first bytes.
class Rest final {
 public:
  Rest(absl::Span<const iovec> pieces, LinkMessageEncoder::Keepers keepers)
      : pieces_(pieces), keepers_(keepers) {}

  absl::Span<const iovec> pieces() const { return pieces_; }
  LinkMessageEncoder::Keepers keepers() const { return keepers_; }

  void Consume(size_t bytes) {
    size_t done = 0;
    while (done < pieces_.size() && bytes >= pieces_[done].iov_len) {
      bytes -= pieces_[done++].iov_len;
    }
    if (!keepers_.empty()) keepers_.remove_prefix(done);
    pieces_.remove_prefix(done);
    if (bytes == 0) return;
    std::copy(pieces_.begin(), pieces_.end(), copy_.begin());
    pieces_ = absl::MakeConstSpan(copy_.data(), pieces_.size());
    copy_[0].iov_base = static_cast<char*>(copy_[0].iov_base) + bytes;
    copy_[0].iov_len -= bytes;
  }

 private:
  absl::Span<const iovec> pieces_;
  LinkMessageEncoder::Keepers keepers_;
  std::array<iovec, Outgoing::kPiecesMax> copy_;
};

size_t BytesOf(absl::Span<const iovec> pieces) {
  size_t bytes = 0;
  for (const iovec& piece : pieces) bytes += piece.iov_len;
  return bytes;
}

// 1: one of gRPC's threads is in a handler. One for the process, as those
// threads are.
std::atomic<uint32_t>& HandlersOnGrpcThreads() {
  static auto* const handlers = new std::atomic<uint32_t>(0);
  return *handlers;
}

}  // namespace

// ---------------------------------------------------------------------------
// Sending

absl::StatusOr<size_t> GrpcStream::Send(absl::Span<const iovec> pieces,
                                        LinkMessageEncoder::Keepers keepers) {
  const size_t given = BytesOf(pieces);
  Rest rest(pieces, keepers);
  size_t taken = 0;
  while (true) {
    {
      MutexLock lock(mutex_);
      if (write_over_ || closing_) {
        return absl::UnavailableError(
            absl::StrCat("the connection to ", peer_, " is over"));
      }
      const size_t more =
          encoder_.Encode(rest.pieces(), GatherBytes(), &gathered_,
                          rest.keepers(), &gathered_kept_);
      if (encoder_.is_broken()) break;
      taken += more;
      if (writing_ || gathered_.empty()) {
        wants_room_ |= taken < given;  // IsWriting() may have set it, too.
        return taken;
      }
      TakeForWriting();
      if (taken < given) rest.Consume(more);
    }
    StartWriting(&outgoing_);
    if (taken == given) return taken;
  }
  const absl::Status status = absl::DataLossError(absl::StrCat(
      "the peer (", peer_, ") has acknowledged what it was not sent yet"));
  {
    MutexLock lock(mutex_);
    write_over_ = true;
    if (status_.ok()) status_ = status;
  }
  Cancel();
  return status;
}

bool GrpcStream::IsWriting() {
  MutexLock lock(mutex_);
  wants_room_ |= writing_;
  return writing_;
}

void GrpcStream::TakeForWriting() {
  writing_ = true;
  ::grpc::ByteBuffer buffer = BufferOfGathered();
  outgoing_.Swap(&buffer);  // An assignment would copy.
  written_bytes_ += outgoing_.Length();
  encoder_.Begin();
}

::grpc::ByteBuffer GrpcStream::BufferOfGathered() {
  if (gathered_.size() <= kCopiedBytesMax && gathered_kept_.empty()) {
    ::grpc::Slice slice(gathered_.data(), gathered_.size());
    gathered_.Truncate(0);
    return ::grpc::ByteBuffer(&slice, 1);
  }
  auto* const written = new WrittenMessage(
      std::move(gathered_), std::move(gathered_kept_), written_, loans_);
  gathered_ = written_->Take();
  gathered_kept_.clear();
  return written->ToBuffer();
}

void GrpcStream::WriteDone(bool ok) {
  bool again = false;
  EventLoop* borrowed = nullptr;
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
      if (TryBorrowLoop()) {
        borrowed = loop_;
        has_room_ = false;
        ++starting_reads_;
      } else {
        Notify();
      }
    }
    end = MayEnd();
  }
  if (again) StartWriting(&outgoing_);
  if (borrowed != nullptr) {
    TellBorrowing(*borrowed, /*is_writable=*/true);
    MutexLock lock(mutex_);
    --starting_reads_;
    end = MayEnd();
  }
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
  if (closing_) return true;  // Reads to the end and keeps nothing.
  if (WaitsForOwner()) return false;
  return (handshaken_ || !has_read_) && arrived_bytes_ < kArrivedBytesMax;
}

bool GrpcStream::WaitsForOwner() const {
  return arrived_bytes_ > 0 && arrived_bytes_ <= kAloneBytesMax &&
         alone_ >= kAloneMin && alone_ % kAlonePeriod != 0;
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
  *records = spare_.Take();
  if (!handshaken_ && bytes > kFirstMessageBytesMax) {
    return absl::DataLossError(absl::StrCat("the first message has ", bytes,
                                            " bytes, at most ",
                                            kHandshakeBytesMax));
  }
  // Small messages lie in one piece, which is found in less time.
  if (::grpc::Slice slice; incoming_.TrySingleSlice(&slice).ok()) {
    google::protobuf::io::ArrayInputStream reader(
        slice.begin(), static_cast<int>(slice.size()));
    return decoder_.Decode(reader, bytes, records);
  }
  ::grpc::ProtoBufferReader reader(&incoming_);
  return decoder_.Decode(reader, bytes, records);
}

void GrpcStream::ReadDone(bool ok) {
  ByteSink records;
  const absl::Status decoded =
      ok ? Decode(&records) : absl::UnavailableError("");
  bool again, end;
  EventLoop* borrowed = nullptr;
  bool is_writable = false;
  {
    MutexLock lock(mutex_);
    has_read_ = true;
    incoming_.Clear();
    if (!decoded.ok()) {
      read_over_ = true;
      if (ok) status_ = decoded;
    } else if (!closing_ && !records.empty()) {
      alone_ = arrived_bytes_ == 0 ? alone_ + 1 : 0;
      arrived_bytes_ += records.size();
      // A buffer for each message would take far more memory than is counted,
      // if the messages are small.
      if (!arrived_.empty() && records.size() <= arrived_.back().capacity() -
                                                     arrived_.back().size()) {
        arrived_.back().Append(records.data(), records.size());
      } else {
        arrived_.push_back(std::move(records));
      }
      if (TryBorrowLoop()) {
        borrowed = loop_;
        is_writable = std::exchange(has_room_, false);
      }
    }
    if (borrowed == nullptr) Notify();
    ++starting_reads_;  // So the stream does not end before the second lock.
  }
  if (records.capacity() > 0) spare_.GiveBack(std::move(records));
  if (borrowed != nullptr) TellBorrowing(*borrowed, is_writable);
  {
    MutexLock lock(mutex_);
    --starting_reads_;
    reading_ = false;
    again = ClaimRead();
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
    again = ClaimRead();
  }
  spare_.GiveBack(std::move(records));
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
  // The reason is known when the stream has ended, but that may wait for a
  // write.
  if (!ended_ && status_.ok()) return false;
  *status = status_;
  return true;
}

bool GrpcStream::HasHalfEnded() const {
  MutexLock lock(mutex_);
  return arrived_.empty() && read_over_ && !ended_;
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

void GrpcStream::LingerUntil(TimeNs deadline) {
  if (linger_timer_ != 0) return;
  EventLoop* loop;
  {
    MutexLock lock(mutex_);
    if (ended_ || loop_ == nullptr) return;
    loop = loop_;
  }
  linger_timer_ = loop->RunAt(deadline, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    self->linger_timer_ = 0;
    self->Cancel();
  });
}

void GrpcStream::StopLingering() {
  if (linger_timer_ == 0) return;
  MutexLock lock(mutex_);
  if (loop_ != nullptr) loop_->Cancel(linger_timer_);
  linger_timer_ = 0;
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

void GrpcStream::ForgetLoop() {
  MutexLock lock(mutex_);
  loop_ = nullptr;
}

void GrpcStream::TellOwner() {
  MutexLock lock(mutex_);
  Notify();
}

bool GrpcStream::TryBorrowLoop() {
  if (posted_ || telling_ || loop_ == nullptr || closing_ || !handshaken_) {
    return false;
  }
  if (HandlersOnGrpcThreads().exchange(1, std::memory_order_acquire) != 0) {
    return false;
  }
  if (loop_->TryBorrow()) {
    telling_ = true;
    tell_again_ = false;
    return true;
  }
  HandlersOnGrpcThreads().store(0, std::memory_order_release);
  return false;
}

void GrpcStream::TellBorrowing(EventLoop& loop, bool is_writable) {
  while (true) {
    if (owner_ != nullptr) owner_->OnStream(is_writable);
    MutexLock lock(mutex_);
    if (tell_again_ && !loop.IsAwaited()) {
      tell_again_ = false;
      is_writable = std::exchange(has_room_, false);
      continue;
    }
    telling_ = false;
    if (tell_again_) Notify();
    break;
  }
  HandlersOnGrpcThreads().store(0, std::memory_order_release);
  loop.GiveBack();
}

void GrpcStream::Notify() {
  if (posted_ || loop_ == nullptr || closing_) return;
  if (telling_) {
    tell_again_ = true;
    return;
  }
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
