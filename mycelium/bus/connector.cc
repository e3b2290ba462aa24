#include "mycelium/bus/connector.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace mycelium {
namespace {

// A connection that lived this long counts as a success.
constexpr int64_t kLivedNs = 50'000'000;

// How often the time between two tries doubles, at most.
constexpr int kDoublingsMax = 20;

}  // namespace

Connector::~Connector() { loop_.Cancel(timer_); }

void Connector::Redial() {
  loop_.Cancel(timer_);
  if (handshake_ != nullptr) return;
  // A connection that broke at once might do so again and again, so it counts
  // as a failure.
  if (established_at_ > 0 &&
      environment_.clock.NowNs() - established_at_ < kLivedNs) {
    ++failures_;
    DialLater();
    return;
  }
  failures_ = 0;
  if (is_telling_) {  // Called by the callback that is told of a failure.
    DialAt(environment_.clock.NowNs());
    return;
  }
  last_failure_.clear();
  Dial();
}

void Connector::RedialLater() {
  if (handshake_ != nullptr) return;
  failures_ = std::max(failures_, 1);
  DialLater();
}

void Connector::AbandonHandshake() {
  if (handshake_ == nullptr) return;
  handshake_.reset();
  ++failures_;
  DialLater();
}

void Connector::Dial() {
  if (handshake_ != nullptr) return;
  v1::Hello hello;
  const Say say = callbacks_.hello(*this, &hello);
  if (say == Say::kLater) RedialLater();
  if (say != Say::kHello) return;
  absl::StatusOr<std::unique_ptr<Channel>> channel =
      transport_.Dial(options_.address);
  if (!channel.ok()) {
    Fail(channel.status());
    return;
  }
  dialled_at_ = environment_.clock.NowNs();
  handshake_ = Handshake::Dial(
      loop_, *std::move(channel), hello,
      DeadlineAfter(dialled_at_, options_.handshake),
      [this](absl::StatusOr<Handshake::Established> established) {
        OnHandshake(std::move(established));
      });
}

void Connector::OnHandshake(
    absl::StatusOr<Handshake::Established> established) {
  // We are inside the handshake's callback, so the handshake goes when that is
  // over.
  const std::string refused_by = handshake_->refused_by();
  loop_.Post([done = std::shared_ptr<Handshake>(std::move(handshake_))] {});
  if (!established.ok()) {
    if (options_.expected_peer.empty() && !peer_.empty() &&
        !refused_by.empty() && refused_by != peer_) {
      // The peer that refused may be one of several at that address. Any of
      // them will do, so the next Hello names none.
      peer_.clear();
      CountFailure();
      DialLater();
      return;
    }
    // The next Hello is for the peer that refused us, and may offer to resume.
    if (!refused_by.empty()) peer_ = refused_by;
    Fail(WhereItWas(established.status()));
    return;
  }
  if (absl::Status judged = callbacks_.judge(*this, *established);
      !judged.ok()) {
    established->channel->Close();
    Fail(WhereItWas(judged));
    return;
  }
  if (!options_.expected_peer.empty() &&
      established->peer.node() != options_.expected_peer) {
    established->channel->Close();
    Fail(absl::FailedPreconditionError(absl::StrCat(
        "node \"", established->peer.node(), "\" answers at ", options_.address,
        ", expected \"", options_.expected_peer, "\"")));
    return;
  }
  established_at_ = environment_.clock.NowNs();
  last_failure_.clear();
  peer_ = established->peer.node();
  callbacks_.on_established(*this, *std::move(established));
}

absl::Status Connector::WhereItWas(const absl::Status& status) const {
  if (absl::StrContains(status.message(), options_.address)) return status;
  absl::Status named(status.code(),
                     absl::StrCat("dialling ", options_.address, " over ",
                                  transport_.word(), ": ", status.message()));
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    named.SetPayload(type, payload);
  });
  return named;
}

void Connector::CountFailure() {
  failures_ = std::min(failures_ + 1, kDoublingsMax + 1);
}

void Connector::Fail(const absl::Status& status) {
  CountFailure();
  DialLater();
  if (std::string(status.message()) == last_failure_) return;
  last_failure_ = std::string(status.message());
  is_telling_ = true;
  callbacks_.on_failure(*this, status);
  is_telling_ = false;
}

void Connector::DialLater() {
  // The longest wait doubles each time, up to the maximum. The wait is a random
  // part of it, from half to all.
  const int64_t min_ns = absl::ToInt64Nanoseconds(options_.reconnect_min);
  const int64_t max_ns = absl::ToInt64Nanoseconds(options_.reconnect_max);
  const int doublings = std::min(failures_ - 1, kDoublingsMax);
  const int64_t longest = std::min(max_ns, min_ns << doublings);
  const int64_t wait =
      longest / 2 + static_cast<int64_t>(random_.Below(longest / 2 + 1));
  DialAt(environment_.clock.NowNs() + wait);
}

void Connector::DialAt(TimeNs at) {
  loop_.Cancel(timer_);
  timer_ = loop_.RunAt(at, [this] { Dial(); });
}

}  // namespace mycelium
