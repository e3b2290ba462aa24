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
// An observer's Hello is neither judged nor answered: what it asks for is up to
// who is told of it.
//
// Thread safety: on the loop. Destroying it ends the connection, unless it is
// done.
class Handshake final : private Channel::Handler {
 public:
  struct Established {
    std::unique_ptr<Channel> channel;
    v1::Hello peer;
    v1::Hello ours;  // What we have said.
    // Of that, what the channel has not taken yet: it goes before all else.
    std::string unsent;
  };

  // Called once, not from within a call of the handshake or its channel. A
  // status: FAILED_PRECONDITION and others for what the peer refused (see
  // RejectStatus), DATA_LOSS for garbage, RESOURCE_EXHAUSTED for a Hello of
  // more than kHandshakeBytesMax, ours or theirs, DEADLINE_EXCEEDED,
  // UNAVAILABLE.
  using Done = std::function<void(absl::StatusOr<Established>)>;

  // Judges the peer's Hello and fills in ours, or returns why it is refused.
  using Decide = std::function<std::optional<v1::Reject>(const v1::Hello& peer,
                                                         v1::Hello* ours)>;

  // Says `ours` on a connection that we dialled.
  static std::unique_ptr<Handshake> Dial(EventLoop& loop,
                                         std::unique_ptr<Channel> channel,
                                         const v1::Hello& ours, TimeNs deadline,
                                         Done done);

  // Waits for the Hello of whoever dialled us.
  static std::unique_ptr<Handshake> Accept(EventLoop& loop,
                                           std::unique_ptr<Channel> channel,
                                           Decide decide, TimeNs deadline,
                                           Done done);

  ~Handshake() override;

  // Whether the other side can have read what we said.
  bool is_connected() const {
    return channel_ != nullptr && channel_->CheckConnected().ok();
  }

  // Whether the other side has said something that is acted on soon.
  bool HasHeard();

  // Who refused us, if it said so.
  const std::string& refused_by() const { return refused_by_; }

 private:
  Handshake(EventLoop& loop, std::unique_ptr<Channel> channel, Decide decide,
            Done done);

  void Begin(TimeNs deadline);
  void SendControl(const google::protobuf::Message& control);
  void SendMore();
  absl::Status ReadControl(absl::Span<const std::byte> body);
  // Finish later, since the channel is calling us now.
  void FinishWith(absl::Status status);
  void Finish();
  absl::Status CheckPeer() const;  // Who was dialled.
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

// Of a node's name in it.
inline constexpr size_t kNodeNameBytesMax = 255;

// What a refusal means for the one who was refused: "refused by <peer>: …".
absl::Status RejectStatus(const v1::Reject& reject);

// Says `reject` on a connection whose Hello is not waited for, as far as that
// goes without waiting.
void SendReject(Channel& channel, const v1::Reject& reject);

v1::Reject MakeReject(v1::Reject::Reason reason, absl::string_view message);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_HANDSHAKE_H_
