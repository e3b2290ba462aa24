#ifndef MYCELIUM_TRANSPORT_GRPC_GRPC_STREAM_H_
#define MYCELIUM_TRANSPORT_GRPC_GRPC_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/base/mutex.h"
#include "mycelium/transport/grpc/byte_sink.h"
#include "mycelium/transport/grpc/link_message_decoder.h"
#include "mycelium/transport/grpc/link_message_encoder.h"
#include "mycelium/transport/grpc/loans.h"
#include "mycelium/transport/grpc/spare_bytes.h"

namespace mycelium {

// One call of mycelium.v1.Link/Connect, seen from either end: what is common to
// the two reactors of gRPC, and where gRPC's threads meet the node's loop.
//
// Sending. One message is being written at a time; what is sent meanwhile
// gathers in the next, up to GatherBytes(). A thread that sends on an idle
// stream hands the message to gRPC itself. When that message is written, gRPC's
// thread starts the next. Large payloads are not copied: gRPC reads them in the
// lane. It holds the lane's memory until it lets go of the message, which may
// be after the stream has ended (see Loans). Until then what gRPC reads does
// not change, see SendKept().
//
// Receiving. gRPC's thread turns a message into records. If the loop can be
// borrowed, that thread then tells the owner itself, and starts the next read
// afterwards: nobody is woken up on a message's way to its handler. Otherwise
// the loop is told once and takes all that has come. While kArrivedBytesMax or
// more wait for the loop nothing is read, so that HTTP/2's flow control stops
// the peer; small messages that wait share a buffer. Until the handshake is
// over one message is read, of at most kHandshakeBytesMax.
//
// If a read is started before the last message is answered, it costs a packet
// of its own: gRPC tells the peer of the room at once, instead of along with
// the answer. So where small messages come one at a time, the next read waits
// until the owner is done with the last message. Every kAlonePeriod-th read
// does not wait, which shows whether messages come faster by now.
//
// Handlers may take long, and gRPC has two threads or more for all nodes of a
// process: one of them at a time is lent to handlers, the rest stay gRPC's.
//
// Invariants:
//  (1) One thread at a time tells the owner, and it is in the loop: the loop's
//      thread, while a task is posted, or one of gRPC's, while it has borrowed
//      the loop.
//  (2) The loop is borrowed with `mutex_` held, so never after ForgetLoop(),
//      and a borrowed loop cannot be destroyed.
//  (3) While gRPC's thread tells the owner, a read counts as being started. So
//      the stream does not end, and its StreamSet has a reference to it: the
//      last reference never goes on a thread of gRPC's.
//
// Thread safety: all members may be called from any thread; Send() from one at
// a time. gRPC may call back from within any of its calls, so `mutex_` is not
// held there.
//
// Ownership: shared by the channel and by gRPC, until Ended() of both.
class GrpcStream : public std::enable_shared_from_this<GrpcStream> {
 public:
  // In the loop.
  class Owner {
   public:
    virtual ~Owner() = default;
    // Something has arrived, the stream is over, or, with `is_writable`, more
    // can be sent.
    virtual void OnStream(bool is_writable) = 0;
  };

  virtual ~GrpcStream() = default;

  // On the loop. Null: nobody is told any more.
  void SetOwner(Owner* owner) { owner_ = owner; }
  // The owner is told as if something had arrived.
  void TellOwner();
  // The peer has said who it is and was believed.
  void NoteHandshaken();

  // `keepers`: see Channel::SendKept(). None: all is copied.
  absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces,
                              LinkMessageEncoder::Keepers keepers = {});
  // Whether a message is being written; if so, the owner is told that more can
  // be sent when it is done. From the thread that may call Send().
  bool IsWriting();

  // Takes what arrived next. False: nothing did.
  bool Take(ByteSink* records);
  // Gives back what Take() gave, so that more may be read.
  void GiveBack(ByteSink records);
  // See Channel::CheckConnected().
  virtual absl::Status CheckConnected() const { return absl::OkStatus(); }
  // Whether nothing more will arrive, and why.
  bool IsOver(absl::Status* status) const;
  // Whether nothing more will arrive, but the stream does not end because of
  // what is being written, which the peer may never read.
  bool HasHalfEnded() const;

  // Ends it once what was sent is written.
  void Close();
  // Ends it now.
  virtual void Cancel() = 0;
  // On the loop: cancels the stream at `deadline`, if it lives so long. While a
  // deadline is set, another call changes nothing. StopLingering() calls it
  // off.
  void LingerUntil(TimeNs deadline);
  void StopLingering();
  // The loop must not be used any more.
  void ForgetLoop();

  const std::string& peer() const { return peer_; }

 protected:
  GrpcStream(EventLoop& loop, std::shared_ptr<Loans> loans,
             size_t frame_bytes_max, std::string peer)
      : peer_(std::move(peer)),
        loans_(std::move(loans)),
        decoder_(frame_bytes_max),
        loop_(&loop) {}

  // What gRPC's reactors do.
  virtual void StartReading(::grpc::ByteBuffer* message) = 0;
  virtual void StartWriting(const ::grpc::ByteBuffer* message) = 0;
  // Nothing is being written, nor will be.
  virtual void StartEnding() = 0;

  // What they tell.
  void Begun();  // It may be read from.
  void ReadDone(bool ok);
  void WriteDone(bool ok);
  // The end, for the reason in `status`. gRPC lets go of it.
  void Ended(const absl::Status& status);

 private:
  static constexpr size_t kGatherBytesMin = 8 * 1024;
  static constexpr size_t kGatherBytesMax = 256 * 1024;
  static constexpr size_t kArrivedBytesMax = 256 * 1024;
  static constexpr size_t kAloneBytesMax = 1024;
  static constexpr uint32_t kAloneMin = 64;
  static constexpr uint32_t kAlonePeriod = 16;

  bool MayRead() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether the next read waits until the owner is done with what has arrived.
  bool WaitsForOwner() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // True: StartClaimedRead() follows, without the lock. Until then the stream
  // does not end: gRPC lets go of it once the end has begun and no operation is
  // under way, and this one is not yet.
  bool ClaimRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void StartClaimedRead();
  bool MayEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // How much gathers in a message. Only whole messages arrive, and where
  // connections break again and again, each has to bring some.
  size_t GatherBytes() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::clamp(written_bytes_ / 8, kGatherBytesMin, kGatherBytesMax);
  }
  void TakeForWriting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  ::grpc::ByteBuffer BufferOfGathered() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Notify() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // True: TellBorrowing() follows, without the lock.
  bool TryBorrowLoop() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TellBorrowing(EventLoop& loop, bool is_writable);
  absl::Status Decode(ByteSink* records);

  const std::string peer_;
  const std::shared_ptr<Loans> loans_;
  const LinkMessageDecoder decoder_;
  Owner* owner_ = nullptr;       // In the loop.
  uint64_t linger_timer_ = 0;    // In the loop. 0: none.
  ::grpc::ByteBuffer incoming_;  // While `reading_`, gRPC's.
  ::grpc::ByteBuffer outgoing_;  // While `writing_`, gRPC's.
  LinkMessageEncoder encoder_;   // Send()'s.
  // The buffers of messages that are out.
  const std::shared_ptr<SpareBytes> written_ = std::make_shared<SpareBytes>();

  std::atomic<bool> handshaken_{false};  // Set with the lock held.

  mutable Mutex mutex_;
  EventLoop* loop_ ABSL_GUARDED_BY(mutex_);
  ByteSink gathered_ ABSL_GUARDED_BY(mutex_);
  std::vector<KeptBytes> gathered_kept_ ABSL_GUARDED_BY(mutex_);
  size_t written_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // Of earlier messages.
  std::deque<ByteSink> arrived_ ABSL_GUARDED_BY(mutex_);
  SpareBytes spare_;
  size_t arrived_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  // How many messages in a row came when none waited for the owner.
  uint32_t alone_ ABSL_GUARDED_BY(mutex_) = 0;
  bool begun_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_read_ ABSL_GUARDED_BY(mutex_) = false;  // One message, at least.
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  // Reads that were claimed and are not known to be started. Two: the first was
  // over already.
  int starting_reads_ ABSL_GUARDED_BY(mutex_) = 0;
  bool read_over_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool write_over_ ABSL_GUARDED_BY(mutex_) = false;
  bool wants_room_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_room_ ABSL_GUARDED_BY(mutex_) = false;  // Which the owner awaits.
  // Somebody is about to tell the owner what there is, or is doing so.
  bool posted_ ABSL_GUARDED_BY(mutex_) = false;
  bool telling_ ABSL_GUARDED_BY(mutex_) = false;
  bool tell_again_ ABSL_GUARDED_BY(mutex_) = false;  // While `telling_`.
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_GRPC_STREAM_H_
