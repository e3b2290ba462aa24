#ifndef MYCELIUM_TRANSPORT_HANDSHAKE_H_
#define MYCELIUM_TRANSPORT_HANDSHAKE_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/transport/channel.h"
#include "proto/mycelium/v1/handshake.pb.h"

namespace mycelium {

// The first exchange on a connection: the dialling side says Hello, the other
// answers with its own Hello or with a reason for refusing. It has a deadline
// and allocates nothing of a size that the peer chose, so a peer that says
// nothing, or garbage, costs one connection.
//
// An observer's Hello is neither judged nor answered: the receiver of Done
// decides on what it asks for.
//
// Thread safety: on the loop. Destroying it ends the connection, unless it is
// done.
class Handshake final : private Channel::Handler {
 public:
  struct Established {
    std::unique_ptr<Channel> channel;
    v1::Hello peer;
    v1::Hello ours;  // What we have said.
    // The part of `ours` that the channel has not taken yet. It goes before all
    // else.
    std::string unsent;
  };

  // Called once, not from within a call of the handshake or its channel. The
  // status is that of RejectStatus(), such as FAILED_PRECONDITION, if the peer
  // or this side refused; DATA_LOSS for garbage; RESOURCE_EXHAUSTED for a Hello
  // of more than kHandshakeBytesMax, theirs or the one that we dial with;
  // DEADLINE_EXCEEDED; or UNAVAILABLE.
  using Done = std::function<void(absl::StatusOr<Established>)>;

  // Judges the peer's Hello and fills in ours, or returns why it is refused.
  using Decide = std::function<std::optional<v1::Reject>(const v1::Hello& peer,
                                                         v1::Hello* ours)>;

  // Says the Hello `ours` on a connection that we dialled.
  static std::unique_ptr<Handshake> Dial(EventLoop& loop,
                                         std::unique_ptr<Channel> channel,
                                         const v1::Hello& ours, TimeNs deadline,
                                         Done done);

  // Waits for the Hello of the peer that dialled us.
  static std::unique_ptr<Handshake> Accept(EventLoop& loop,
                                           std::unique_ptr<Channel> channel,
                                           Decide decide, TimeNs deadline,
                                           Done done);

  ~Handshake() override;

  // Whether the other side can have read what we said.
  bool is_connected() const {
    return channel_ != nullptr && channel_->CheckConnected().ok();
  }

  // Whether the other side has said something that will be acted on soon.
  bool HasHeard();

  // The name of the peer that refused us, if it gave one that a node may have.
  const std::string& refused_by() const { return refused_by_; }

 private:
  Handshake(EventLoop& loop, std::unique_ptr<Channel> channel, Decide decide,
            Done done);

  void Begin(TimeNs deadline);
  void SendControl(const google::protobuf::Message& control);
  void SendMore();
  absl::Status ReadControl(absl::Span<const std::byte> body);
  // Finishes later, since the channel is calling us now.
  void FinishWith(absl::Status status);
  void Finish();
  absl::Status CheckPeer() const;  // That we dialled.
  absl::Status Answer();

  // Channel::Handler:
  size_t OnBytes(absl::Span<const std::byte> bytes) override;
  void OnWritable() override;
  void OnClosed(const absl::Status& status) override;

  EventLoop& loop_;
  std::unique_ptr<Channel> channel_;
  const Decide decide_;  // Null on the dialling side.
  Done done_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  uint64_t timer_ = 0;
  std::string outgoing_;
  std::optional<absl::Status> outcome_;  // Set once the peer has spoken.
  v1::Hello peer_;
  v1::Hello ours_;
  std::string refused_by_;
};

// The largest Hello or Reject.
inline constexpr size_t kHandshakeBytesMax = 64 * 1024;

// The largest name of a node in a Hello.
inline constexpr size_t kNodeNameBytesMax = 255;

// What a refusal means for the node that was refused: "refused by the peer:
// <REASON>: …".
absl::Status RejectStatus(const v1::Reject& reject);

// Sends `reject` on a connection whose Hello is not waited for, as much of it
// as goes without waiting.
void SendReject(Channel& channel, const v1::Reject& reject);

v1::Reject MakeReject(v1::Reject::Reason reason, absl::string_view message);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_HANDSHAKE_H_
