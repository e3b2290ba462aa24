#include "mycelium/transport/handshake.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/harmless.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/transport/outgoing.h"
#include "mycelium/transport/record_reader.h"
#include "proto/mycelium/v1/control.pb.h"

namespace mycelium {
namespace {

// What is wrong with the size of our own Hello; empty: nothing.
std::string HelloFault(const v1::Control& control) {
  const size_t bytes = control.ByteSizeLong();
  if (bytes <= kHandshakeBytesMax) return "";
  return absl::StrCat("the Hello of node \"", control.hello().node(), "\" has ",
                      bytes, " bytes, at most ", kHandshakeBytesMax);
}

// How much of what a peer says is shown in a line of ours.
constexpr size_t kShownBytesMax = 1024;

// What is wrong with a name that goes into lines of logs; empty: nothing.
std::string NameFault(const std::string& node) {
  if (node.size() <= kNodeNameBytesMax && Harmless(node) == node) return "";
  return absl::StrCat("a node name has up to ", kNodeNameBytesMax,
                      " bytes and no control characters");
}

}  // namespace

std::unique_ptr<Handshake> Handshake::Dial(EventLoop& loop,
                                           std::unique_ptr<Channel> channel,
                                           const v1::Hello& ours,
                                           TimeNs deadline, Done done) {
  std::unique_ptr<Handshake> handshake(
      new Handshake(loop, std::move(channel), nullptr, std::move(done)));
  handshake->Begin(deadline);
  handshake->ours_ = ours;
  v1::Control control;
  *control.mutable_hello() = ours;
  if (const std::string fault = HelloFault(control); !fault.empty()) {
    handshake->FinishWith(
        absl::ResourceExhaustedError(absl::StrCat("handshake: ", fault)));
    return handshake;
  }
  handshake->SendControl(control);
  return handshake;
}

std::unique_ptr<Handshake> Handshake::Accept(EventLoop& loop,
                                             std::unique_ptr<Channel> channel,
                                             Decide decide, TimeNs deadline,
                                             Done done) {
  std::unique_ptr<Handshake> handshake(new Handshake(
      loop, std::move(channel), std::move(decide), std::move(done)));
  handshake->Begin(deadline);
  return handshake;
}

Handshake::Handshake(EventLoop& loop, std::unique_ptr<Channel> channel,
                     Decide decide, Done done)
    : loop_(loop),
      channel_(std::move(channel)),
      decide_(std::move(decide)),
      done_(std::move(done)) {}

Handshake::~Handshake() {
  *alive_ = false;
  loop_.Cancel(timer_);
  if (channel_ != nullptr) channel_->Close();
}

void Handshake::Begin(TimeNs deadline) {
  timer_ = loop_.RunAt(deadline, [this, alive = alive_] {
    if (!*alive) return;
    // If there is no connection, that is the reason, and not a silent peer.
    absl::Status status = channel_->CheckConnected();
    if (status.ok()) {
      status = absl::DeadlineExceededError(
          absl::StrCat("handshake: ", channel_->peer_description(),
                       " did not say who it is in time"));
    }
    FinishWith(std::move(status));
  });
  channel_->Start(*this);
}

void Handshake::SendControl(const google::protobuf::Message& control) {
  RecordHeader header = {};
  header.magic = kRecordMagic;
  header.kind = static_cast<uint8_t>(RecordKind::kControl);
  const std::string body = control.SerializeAsString();
  header.body_bytes = static_cast<uint32_t>(body.size());
  outgoing_.append(reinterpret_cast<const char*>(&header), sizeof header);
  outgoing_.append(body);
  SendMore();
}

void Handshake::SendMore() {
  while (!outgoing_.empty()) {
    const iovec piece = {outgoing_.data(), outgoing_.size()};
    const absl::StatusOr<size_t> sent =
        channel_->Send(absl::MakeConstSpan(&piece, 1));
    // A connection that broke is reported by OnClosed().
    if (!sent.ok() || *sent == 0) return;
    outgoing_.erase(0, *sent);
  }
}

bool Handshake::HasHeard() {
  if (!outcome_.has_value()) (void)channel_->ReadNow();
  return outcome_.has_value();
}

size_t Handshake::OnBytes(absl::Span<const std::byte> bytes) {
  if (outcome_.has_value()) return 0;  // Kept for the link.
  bool complete = false;
  size_t body_bytes = 0;
  const absl::Status checked =
      CheckControlHeader(bytes, kHandshakeBytesMax, &complete, &body_bytes);
  if (!checked.ok()) {
    if (decide_ != nullptr && absl::IsResourceExhausted(checked)) {
      // It is no garbage, so the other side can make something of the answer.
      SendReject(*channel_,
                 MakeReject(v1::Reject::MALFORMED, checked.message()));
    }
    FinishWith(checked);
    return 0;
  }
  if (!complete) return 0;
  FinishWith(ReadControl(bytes.subspan(sizeof(RecordHeader), body_bytes)));
  return sizeof(RecordHeader) + body_bytes;
}

absl::Status Handshake::ReadControl(absl::Span<const std::byte> body) {
  v1::Control control;
  if (!control.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return absl::DataLossError("handshake: the first message does not parse");
  }
  if (control.has_reject()) {
    // The next Hello repeats it, so a name that is none would make that too
    // large to be said.
    if (NameFault(control.reject().node()).empty()) {
      refused_by_ = control.reject().node();
    }
    return RejectStatus(control.reject());
  }
  if (!control.has_hello()) {
    return absl::DataLossError("handshake: the first message is no Hello");
  }
  peer_ = std::move(*control.mutable_hello());
  if (peer_.observe() && decide_ == nullptr) {
    return absl::DataLossError("handshake: who was dialled only observes");
  }
  return absl::OkStatus();
}

void Handshake::OnWritable() { SendMore(); }

void Handshake::OnClosed(const absl::Status& status) {
  // It may come between the peer's Hello and Finish(). Behind the answer to our
  // Hello there may be data, and the next handler is told of the end after
  // that. A peer that dialled has said nothing else: it waits for our answer.
  const bool has_answered = decide_ == nullptr;
  if (outcome_.has_value() && outcome_->ok() && !has_answered) {
    outcome_ = status;
  }
  FinishWith(status);
}

void Handshake::FinishWith(absl::Status status) {
  if (outcome_.has_value()) return;
  outcome_ = std::move(status);
  loop_.Post([this, alive = alive_] {
    if (*alive) Finish();
  });
}

void Handshake::Finish() {
  absl::Status status = *outcome_;
  if (status.ok()) {
    status = decide_ != nullptr ? Answer() : CheckPeer();
  }
  loop_.Cancel(timer_);
  Done done = std::move(done_);
  if (!status.ok()) {
    channel_->Close();
    done(status);  // May destroy this.
    return;
  }
  Established established;
  established.channel = std::move(channel_);
  established.peer = std::move(peer_);
  established.ours = std::move(ours_);
  established.unsent = std::move(outgoing_);
  done(std::move(established));
}

absl::Status Handshake::CheckPeer() const {
  if (const std::string fault = NameFault(peer_.node()); !fault.empty()) {
    return absl::DataLossError(absl::StrCat("handshake: ", fault));
  }
  return channel_->CheckPeerName(peer_.node());
}

absl::Status Handshake::Answer() {
  if (peer_.observe()) return absl::OkStatus();
  v1::Hello ours;
  std::optional<v1::Reject> reject;
  if (const std::string fault = NameFault(peer_.node()); !fault.empty()) {
    reject = MakeReject(v1::Reject::MALFORMED, fault);
  } else if (const absl::Status named = channel_->CheckPeerName(peer_.node());
             !named.ok()) {
    reject = MakeReject(v1::Reject::NOT_ALLOWED, named.message());
  } else {
    reject = decide_(peer_, &ours);
  }
  v1::Control control;
  if (!reject.has_value()) {
    *control.mutable_hello() = ours;
    const std::string fault = HelloFault(control);
    if (fault.empty()) {
      ours_ = ours;
      SendControl(control);
      return absl::OkStatus();
    }
    reject = MakeReject(v1::Reject::MALFORMED, fault);
  }
  *control.mutable_reject() = *reject;
  SendControl(control);
  return absl::Status(
      RejectStatus(*reject).code(),
      absl::StrCat("refused ", channel_->peer_description(), ", node \"",
                   Harmless(peer_.node(), kNodeNameBytesMax),
                   "\": ", reject->message()));
}

void SendReject(Channel& channel, const v1::Reject& reject) {
  v1::Control control;
  *control.mutable_reject() = reject;
  std::string record;
  AppendControlRecord(control.SerializeAsString(), &record);
  const iovec piece = {record.data(), record.size()};
  (void)channel.Send(absl::MakeConstSpan(&piece, 1));
}

v1::Reject MakeReject(v1::Reject::Reason reason, absl::string_view message) {
  v1::Reject reject;
  reject.set_reason(reason);
  reject.set_message(std::string(message));
  return reject;
}

absl::Status RejectStatus(const v1::Reject& reject) {
  const auto code = [&] {
    switch (reject.reason()) {
      case v1::Reject::PROTOCOL_VERSION:
      case v1::Reject::SCHEMA_DIGEST:
      case v1::Reject::ANOTHER_NODE:
        return absl::StatusCode::kFailedPrecondition;
      case v1::Reject::DUPLICATE_LINK:
      case v1::Reject::NODE_NAME_TAKEN:
        return absl::StatusCode::kAlreadyExists;
      case v1::Reject::NOT_ALLOWED:
        return absl::StatusCode::kPermissionDenied;
      case v1::Reject::TOO_MANY_LINKS:
      case v1::Reject::TOO_MANY_OBSERVERS:
        return absl::StatusCode::kResourceExhausted;
      case v1::Reject::MALFORMED:
        return absl::StatusCode::kInvalidArgument;
      default:
        return absl::StatusCode::kUnavailable;
    }
  }();
  return absl::Status(
      code, absl::StrCat("refused by the peer: ",
                         v1::Reject::Reason_Name(reject.reason()), ": ",
                         Harmless(reject.message(), kShownBytesMax)));
}

}  // namespace mycelium
