// The part of PeerTable that dials.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/bus/hello_rules.h"
#include "mycelium/bus/peer_table.h"

namespace mycelium {

void PeerTable::Dial(Transport& transport, const std::string& address,
                     const std::string& expected_peer, const std::string& rule,
                     uint64_t lane_bytes) {
  for (const auto& known : connectors_) {
    if (&known->transport() != &transport ||
        known->options().address != address) {
      continue;
    }
    asked_[known.get()].lane_bytes = lane_bytes;
    // The node that answered there last has its link without this connector.
    // Another one may have taken its place.
    const auto peer = peers_.find(known->peer());
    if (peer != peers_.end() && peer->second->link->is_up() &&
        peer->second->connector != known.get() && !known->in_handshake()) {
      known->ForgetPeer();
    }
    known->Redial();
    return;
  }
  Connector::Options options;
  options.address = address;
  options.expected_peer = expected_peer;
  options.reconnect_min = options_.limits.reconnect_min;
  options.reconnect_max = options_.limits.reconnect_max;
  options.handshake = options_.limits.handshake;
  // So that the other side has time to get through with its own Hello before it
  // gives up.
  options.claim =
      std::min(options_.limits.handshake, options_.retain(expected_peer)) / 2;
  Connector::Callbacks callbacks;
  callbacks.hello = [this](const Connector& connector, v1::Hello* hello) {
    return SayHello(connector, hello);
  };
  callbacks.judge = [this](const Connector& connector,
                           const Handshake::Established& answer) {
    return JudgeAnswer(answer, asked_[&connector].lane_bytes);
  };
  callbacks.on_established = [this](Connector& connector,
                                    Handshake::Established established) {
    OnEstablished(connector, std::move(established));
  };
  callbacks.on_failure = [this](Connector& connector,
                                const absl::Status& status) {
    OnFailure(connector, status);
  };
  connectors_.push_back(
      std::make_unique<Connector>(environment_, loop_, transport, random_,
                                  std::move(options), std::move(callbacks)));
  Connector& connector = *connectors_.back();
  asked_[&connector] = {rule, lane_bytes};
  if (!expected_peer.empty()) {
    Peer& peer = PeerNamed(expected_peer, transport.word());
    MutexLock lock(mutex_);
    peer.connector = &connector;
    peer.address = address;
    peer.rule = rule;
  }
  connector.Redial();
}

Connector::Say PeerTable::SayHello(const Connector& connector,
                                   v1::Hello* hello) {
  using Say = Connector::Say;
  if (shutting_down_) return Say::kNothing;
  const std::string& name = connector.peer();
  const auto peer = peers_.find(name);
  if (peer != peers_.end() && peer->second->link->is_up()) {
    return Say::kNothing;  // OnDown() redials.
  }
  // Of two Hellos, the first would be out of date as soon as the second is
  // read.
  if (!name.empty() && HasClaimOn(name)) return Say::kLater;
  *hello = MakeHello(name, connector.transport().word() == "shm");
  hello->set_to(name);
  return Say::kHello;
}

absl::Status PeerTable::JudgeAnswer(const Handshake::Established& answer,
                                    uint64_t lane_bytes) const {
  const v1::Hello& theirs = answer.peer;
  const auto reject = JudgeHello(theirs, options_.node);
  if (reject.has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat("node \"", theirs.node(), "\": ", reject->message()));
  }
  if (const auto taken = JudgeName(theirs, answer.channel->peer_identity())) {
    return absl::AlreadyExistsError(taken->message());
  }
  if (lane_bytes == 0 && theirs.lane_bytes() > kLaneBytesUnaskedMax) {
    return absl::FailedPreconditionError(absl::StrCat(
        "node \"", theirs.node(), "\": its endpoint has a capacity of ",
        theirs.lane_bytes(), " bytes; more than ", kLaneBytesUnaskedMax,
        " are reserved only where they are asked for"));
  }
  if (lane_bytes == 0 || lane_bytes == theirs.lane_bytes()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "node \"", theirs.node(), "\": its endpoint has a capacity of ",
      theirs.lane_bytes(), " bytes, ", lane_bytes, " were asked for"));
}

void PeerTable::OnEstablished(Connector& connector,
                              Handshake::Established established) {
  const std::string name = established.peer.node();
  const absl::string_view word = connector.transport().word();
  Peer& peer = PeerNamed(name, word);
  // Of two connections that the peer has accepted, the later one has ended the
  // other. One that the peer has dialled meanwhile wins if our name is the
  // later one.
  const bool is_second =
      peer.link->is_up() &&
      (peer.dialled_by_us ? established.ours.number() < peer.our_number
                          : options_.node > name);
  {
    MutexLock lock(mutex_);
    unanswered_.erase(&connector);
    // A peer that answered there before is not expected back.
    for (auto& [other, known] : peers_) {
      if (known->connector != &connector || other == name) continue;
      known->connector = nullptr;
      loop_.Post([this, other = other] { Erase(other); });
    }
    // A connector that dials the peer already also dials it again.
    if (!is_second || peer.connector == nullptr) {
      peer.connector = &connector;
      peer.address = connector.options().address;
      peer.rule = asked_[&connector].rule;
    }
  }
  const bool is_other =
      peer.link->is_draining() && !Resumes(*peer.link, established.peer);
  if (is_second || is_other) {
    established.channel->Close();
    return;  // OnDown() redials.
  }
  if (!peer.link->IsResume(established.ours)) {
    // We are further by now than our Hello has said.
    established.channel->Close();
    connector.RedialLater();
    return;
  }
  if (peer.link->is_draining()) peer.link->EndDraining();
  Attach(word, std::move(established), /*endpoint=*/nullptr);
}

void PeerTable::OnFailure(Connector& connector, const absl::Status& status) {
  const bool refused = !absl::IsUnavailable(status) &&
                       !absl::IsAlreadyExists(status) &&
                       !absl::IsDeadlineExceeded(status);
  NoteUnanswered(connector, status, refused);
  if (refused) {
    Tell(connector.peer(), connector.transport().word(),
         ConnectionEvent::State::kRefused, status);
  }
}

}  // namespace mycelium
