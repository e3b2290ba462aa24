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
//  (3) After Send() took less than it was given, OnWritable() follows once it
//      may take more, or OnClosed().
//  (4) After Close(), or once OnClosed() was called, the handler is not called
//      again.
//  (5) Memory for arriving bytes grows only with bytes that have arrived.
//
// Thread safety: Send() from one thread at a time, any thread. Everything else,
// and all calls of the handler, on the thread that runs the event loop.
class Channel {
 public:
  class Handler {
   public:
    virtual ~Handler() = default;

    // Bytes that arrived. Returns how many it is done with; the others are
    // offered again with more behind them. Valid for the call.
    virtual size_t OnBytes(absl::Span<const std::byte> bytes) = 0;

    virtual void OnWritable() = 0;

    // The connection is over, for the reason in `status`.
    virtual void OnClosed(const absl::Status& status) = 0;
  };

  virtual ~Channel() = default;

  // Sets who is told, and offers what had arrived before. Not to be called
  // from within OnBytes().
  virtual void Start(Handler& handler) = 0;

  // Sends from the front of `pieces` as much as the pipe takes without waiting,
  // and returns how many bytes that was. UNAVAILABLE: the other side has gone;
  // what it sent before is still offered.
  virtual absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces) = 0;

  virtual void Close() = 0;

  // Whether each Send() of a little costs much, and what waits while one is
  // under way had better go all at once.
  virtual bool gathers() const { return false; }
  // Of a channel that gathers: as Send(), where each piece has a keeper, or
  // null. What lies in a piece that has one may be read until the channel lets
  // go of that keeper, instead of being copied. It is written anew before that
  // only if the peer has it: who says so has received it on this channel, or
  // on a later one, which there is only when nobody reads from this any more.
  // REQUIRES: keepers.size() == pieces.size().
  virtual absl::StatusOr<size_t> SendKept(
      absl::Span<const iovec> pieces,
      absl::Span<const std::shared_ptr<const void>> /*keepers*/) {
    return Send(pieces);
  }
  // Of a channel that gathers: whether something is being written. If so,
  // OnWritable() follows when it is. From the thread that may call Send().
  virtual bool IsWriting() { return false; }

  // The other end, for people: "pid 4711, uid 1000".
  virtual const std::string& peer_description() const = 0;

  // Who is at the other end, as far as the connection itself proves it; of a
  // Unix socket the user, as he was when he connected or listened. Two who
  // differ are not taken for one process. Empty: it proves nothing.
  virtual std::string peer_identity() const { return ""; }

  // Whether there is a connection yet; Send() takes bytes before. UNAVAILABLE:
  // to whom there is none.
  virtual absl::Status CheckConnected() const { return absl::OkStatus(); }

  // Whether who is at the other end may be the node of that name, as far as the
  // connection itself proves who it is. PERMISSION_DENIED: why not.
  virtual absl::Status CheckPeerName(const std::string& /*node*/) const {
    return absl::OkStatus();
  }

  // What a channel between processes of one host can do besides.

  // Whether descriptors can be passed, and whether the peer may be trusted with
  // memory that it sees change: it is a process of the same user.
  virtual bool passes_descriptors() const { return false; }
  virtual bool is_same_user() const { return false; }
  // Whether the peer may be told what this node is doing: as is_same_user(), or
  // a process of root.
  virtual bool may_observe() const { return false; }

  // As Send(), passing copies of two descriptors along with the first byte.
  virtual absl::StatusOr<size_t> SendDescriptors(std::array<int, 2>,
                                                 absl::Span<const iovec>) {
    return absl::UnimplementedError("this channel passes no descriptors");
  }
  // The next two that were passed, with bytes that were offered or are next;
  // nothing if none were. One that did not arrive is not valid.
  virtual std::optional<std::array<Fd, 2>> TakeDescriptors() {
    return std::nullopt;
  }

  // Whether a spinning loop looks at this channel all the time. It does at
  // first; else arriving bytes are noticed a little later.
  virtual void SetSpinning(bool) {}
  // Offers what has arrived, without waiting. Returns whether anything was.
  // Not from within OnBytes().
  virtual bool ReadNow() { return false; }
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_CHANNEL_H_
