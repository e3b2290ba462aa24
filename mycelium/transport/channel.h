#ifndef MYCELIUM_TRANSPORT_CHANNEL_H_
#define MYCELIUM_TRANSPORT_CHANNEL_H_

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "mycelium/base/fd.h"

namespace mycelium {

// One connection: a byte pipe in each direction, ordered and reliable until it
// ends. Links and handshakes are written on top of it, once for all transports.
//
// What every channel promises:
//  (1) Bytes arrive in the order in which Send() took them, none twice, and
//      none is missing before one that arrives.
//  (2) What had arrived when the connection ended is offered before OnClosed().
//  (3) After Send() took less than it was given, OnWritable() follows once the
//      channel may take more, or OnClosed() does.
//  (4) After Close(), or once OnClosed() was called, the handler is not called
//      again. A handler that Start() sets behind the end, before Close(), gets
//      what is left and then an OnClosed() of its own.
//  (5) Memory for arriving bytes grows only with bytes that have arrived.
//
// Thread safety: Send() from one thread at a time, any thread. Everything else,
// and all calls of the handler, on the thread that runs the event loop.
class Channel {
 public:
  class Handler {
   public:
    virtual ~Handler() = default;

    // Bytes that arrived, valid for the call. Returns how many of them the
    // handler is done with; the rest is offered again, with more behind it.
    virtual size_t OnBytes(absl::Span<const std::byte> bytes) = 0;

    virtual void OnWritable() = 0;

    // The connection is over, for the reason in `status`.
    virtual void OnClosed(const absl::Status& status) = 0;
  };

  virtual ~Channel() = default;

  // Sets the handler, and soon offers it what had arrived before. Not to be
  // called from within OnBytes().
  virtual void Start(Handler& handler) = 0;

  // Sends from the front of `pieces` as much as the pipe takes without waiting,
  // and returns how many bytes that was. UNAVAILABLE: the other side has gone;
  // what it sent before is still offered.
  virtual absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces) = 0;

  virtual void Close() = 0;

  // Whether each small Send() is expensive, so that what waits while one is
  // under way had better go all at once.
  virtual bool gathers() const { return false; }
  // For a channel that gathers: like Send(), where each piece has a keeper, or
  // null. Instead of copying a piece that has a keeper, the channel may read it
  // until it lets go of that keeper. Before that, the memory is overwritten
  // only if the peer has the bytes. A peer that says so has received them on
  // this channel, or on a later one, and a later channel exists only once
  // nobody reads from this one any more.
  // REQUIRES: keepers.size() == pieces.size().
  virtual absl::StatusOr<size_t> SendKept(
      absl::Span<const iovec> pieces,
      absl::Span<const std::shared_ptr<const void>> /*keepers*/) {
    return Send(pieces);
  }
  // For a channel that gathers: whether a write is under way. If so,
  // OnWritable() follows when it is done. Only for the thread that may call
  // Send().
  virtual bool IsWriting() { return false; }

  // The other end, for people: "pid 4711, uid 1000".
  virtual const std::string& peer_description() const = 0;

  // The identity of the other end, as far as the connection itself proves it.
  // For a Unix socket it is the user at the time of connecting or listening.
  // Two ends whose identities differ are not taken for one process. Empty: the
  // connection proves nothing.
  virtual std::string peer_identity() const { return ""; }

  // Whether there is a connection yet; Send() takes bytes before that.
  // UNAVAILABLE: there is none, and the message says to which address.
  virtual absl::Status CheckConnected() const { return absl::OkStatus(); }

  // Whether the other end may be the node of that name, as far as the
  // connection itself proves its identity. PERMISSION_DENIED: why not.
  virtual absl::Status CheckPeerName(const std::string& /*node*/) const {
    return absl::OkStatus();
  }

  // What a channel between processes of one host can do besides.

  // Whether descriptors can be passed.
  virtual bool passes_descriptors() const { return false; }
  // Whether the peer may be trusted with memory that it sees change: it is a
  // process of the same user.
  virtual bool is_same_user() const { return false; }
  // Whether the peer may be told what this node is doing: it is a process of
  // the same user, or of root.
  virtual bool may_observe() const { return false; }

  // Like Send(), but passes copies of two descriptors with the first byte.
  // RESOURCE_EXHAUSTED: they cannot be passed. Nothing was sent, and the
  // connection goes on.
  virtual absl::StatusOr<size_t> SendDescriptors(std::array<int, 2>,
                                                 absl::Span<const iovec>) {
    return absl::UnimplementedError("this channel passes no descriptors");
  }
  // The next two descriptors that were passed, with bytes that were offered
  // already or are next; nothing if none were. A descriptor that did not arrive
  // is not valid.
  virtual std::optional<std::array<Fd, 2>> TakeDescriptors() {
    return std::nullopt;
  }

  // Whether a spinning loop looks at this channel all the time, as it does at
  // first. If it does not, arriving bytes are noticed a little later.
  virtual void SetSpinning(bool) {}
  // Offers what has arrived, without waiting. Returns whether anything had.
  // Not from within OnBytes().
  virtual bool ReadNow() { return false; }
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_CHANNEL_H_
