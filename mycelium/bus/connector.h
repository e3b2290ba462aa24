#ifndef MYCELIUM_BUS_CONNECTOR_H_
#define MYCELIUM_BUS_CONNECTOR_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/base/random.h"
#include "mycelium/transport/handshake.h"
#include "mycelium/transport/transport.h"

namespace mycelium {

// Dials one address until it has a connection, and again when that is lost.
// Between tries it waits, twice as long after each failure, with jitter, so
// that many nodes do not reconnect at once.
//
// Thread safety: on the loop.
class Connector final {
 public:
  struct Options {
    std::string address;
    std::string expected_peer;  // Empty: whichever node answers.
    absl::Duration reconnect_min;
    absl::Duration reconnect_max;
    absl::Duration handshake;
    // How long a Hello that the peer may have read goes before one of its own.
    absl::Duration claim;
  };
  enum class Say { kHello, kLater, kNothing };
  struct Callbacks {
    // What to say to the peer. kLater: the connector asks again after the
    // shortest wait. kNothing: no connection is wanted, and the connector rests
    // until Redial().
    std::function<Say(const Connector&, v1::Hello*)> hello;
    // Whether a link to the peer that answers is wanted.
    std::function<absl::Status(const Connector&, const Handshake::Established&)>
        judge;
    // The connector rests until Redial().
    std::function<void(Connector&, Handshake::Established)> on_established;
    // A try has failed. Called once for each reason, not at every try.
    std::function<void(Connector&, const absl::Status&)> on_failure;
  };

  Connector(Environment& environment, EventLoop& loop, Transport& transport,
            Random& random, Options options, Callbacks callbacks)
      : environment_(environment),
        loop_(loop),
        transport_(transport),
        random_(random),
        options_(std::move(options)),
        callbacks_(std::move(callbacks)) {}
  ~Connector();

  // Starts, or starts again after the connection was lost.
  void Redial();

  // The same, after the shortest wait, and not if it is dialling.
  void RedialLater();

  // The next Hello is for whichever node answers, unless one is expected.
  void ForgetPeer() { peer_.clear(); }

  // Ends the handshake that is under way, if one is, as if it had failed: what
  // its Hello offered no longer holds. Not from within a callback of it.
  void AbandonHandshake();

  // Whether a Hello of ours is under way.
  bool in_handshake() const { return handshake_ != nullptr; }
  // Whether a Hello of the peer's must wait for the answer to ours.
  bool holds_claim() const {
    return in_handshake() && handshake_->is_connected() &&
           environment_.clock.NowNs() - dialled_at_ <
               absl::ToInt64Nanoseconds(options_.claim);
  }
  // The node that is expected to answer or, if any may, that answered or
  // refused the last time; empty before that.
  const std::string& peer() const {
    return options_.expected_peer.empty() ? peer_ : options_.expected_peer;
  }
  const Options& options() const { return options_; }
  Transport& transport() const { return transport_; }

 private:
  void Dial();
  void DialLater();
  void DialAt(TimeNs at);
  void OnHandshake(absl::StatusOr<Handshake::Established> established);
  // The same status with the address that it is about.
  absl::Status WhereItWas(const absl::Status& status) const;
  void CountFailure();
  void Fail(const absl::Status& status);

  Environment& environment_;
  EventLoop& loop_;
  Transport& transport_;
  Random& random_;
  const Options options_;
  const Callbacks callbacks_;
  std::unique_ptr<Handshake> handshake_;
  TimeNs dialled_at_ = 0;
  uint64_t timer_ = 0;
  std::string peer_;           // Of the last handshake.
  TimeNs established_at_ = 0;  // 0: never.
  int failures_ = 0;
  std::string last_failure_;
  bool is_telling_ = false;  // Of a failure.
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_CONNECTOR_H_
