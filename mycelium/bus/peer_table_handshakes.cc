// The part of PeerTable that says Hello, and judges the Hello of others.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/bus/hello_rules.h"
#include "mycelium/bus/peer_table.h"

namespace mycelium {
namespace {

// Whether the two are known not to be one process.
bool Differ(const std::string& identity, const std::string& other) {
  return !identity.empty() && !other.empty() && identity != other;
}

}  // namespace

void PeerTable::Accept(absl::string_view transport,
                       std::shared_ptr<const EndpointOptions> endpoint,
                       std::unique_ptr<Channel> channel,
                       const absl::Status& admitted) {
  if (!admitted.ok()) {
    SendReject(*channel, MakeReject(v1::Reject::NOT_ALLOWED,
                                    "this user may not connect"));
    channel->Close();
    NoteFailure(transport, *endpoint, admitted);
    return;
  }
  if (handshakes_.size() >= static_cast<size_t>(options_.limits.links)) {
    // So that silent clients do not keep the others out.
    const auto silent = std::find_if(
        handshakes_.begin(), handshakes_.end(),
        [](const Accepted& one) { return !one.handshake->HasHeard(); });
    // Handshakes whose client has spoken are done when this turn of the loop is
    // over.
    if (silent != handshakes_.end()) {
      const auto& stats = silent->endpoint->stats;
      if (stats != nullptr) stats->CountHandshakeFailure();
      handshakes_.erase(silent);
    }
  }
  // Weak: the handshake owns the callback that holds it.
  auto holder = std::make_shared<std::weak_ptr<Handshake>>();
  const std::string word(transport);
  const std::string identity = channel->peer_identity();
  std::shared_ptr<Handshake> handshake = Handshake::Accept(
      loop_, std::move(channel),
      [this, word, endpoint, identity](const v1::Hello& theirs,
                                       v1::Hello* ours) {
        std::optional<v1::Reject> reject =
            Judge(theirs, word, *endpoint, identity, ours);
        if (reject.has_value()) reject->set_node(options_.node);
        return reject;
      },
      DeadlineAfter(environment_.clock.NowNs(), options_.limits.handshake),
      [this, holder, word,
       endpoint](absl::StatusOr<Handshake::Established> established) {
        const std::shared_ptr<Handshake> self = holder->lock();
        handshakes_.remove_if([&](const Accepted& accepted) {
          return accepted.handshake == self;
        });
        loop_.Post([self] {});
        if (established.ok() && established->peer.observe()) {
          observers_.Add(std::move(established->channel));
        } else if (established.ok()) {
          if (endpoint->stats != nullptr) endpoint->stats->CountConnection();
          Attach(word, *std::move(established), endpoint.get());
        } else if (established.status().code() !=
                   absl::StatusCode::kAlreadyExists) {
          NoteFailure(word, *endpoint, established.status());
        }
      });
  *holder = handshake;
  handshakes_.push_back({std::move(handshake), std::move(endpoint)});
}

v1::Hello PeerTable::MakeHello(const std::string& peer, bool shares) {
  v1::Hello hello;
  hello.set_shared_memory(shares && options_.shared_memory != nullptr);
  hello.set_maps_loans(hello.shared_memory());
  hello.set_protocol_version(kProtocolVersion);
  hello.set_node(options_.node);
  hello.set_incarnation(options_.incarnation);
  for (const auto& [name, digest] : callbacks_.services()) {
    v1::ServiceInfo* service = hello.add_services();
    service->set_name(name);
    if (digest.has_value()) {
      service->set_schema_digest(std::string(digest->bytes()));
    }
  }
  hello.set_topology_digest(options_.topology_digest);
  hello.set_frame_bytes_max(options_.limits.frame_bytes_max);
  hello.set_number(++last_hello_);
  if (const auto known = peers_.find(peer); known != peers_.end()) {
    known->second->link->FillResume(&hello);
  }
  return hello;
}

std::optional<v1::Reject> PeerTable::Judge(const v1::Hello& theirs,
                                           absl::string_view transport,
                                           const EndpointOptions& endpoint,
                                           const std::string& identity,
                                           v1::Hello* ours) {
  if (auto reject = JudgeHello(theirs, options_.node)) return reject;
  if (shutting_down_) {
    return MakeReject(v1::Reject::SHUTTING_DOWN, "this node is leaving");
  }
  if (auto reject = JudgeHelloAt(theirs, endpoint)) return reject;
  if (auto reject = JudgeDuplicate(theirs, identity)) return reject;
  if (!UsesLink(theirs.node()) &&
      LinksUsed() >= static_cast<size_t>(options_.limits.links)) {
    return MakeReject(
        v1::Reject::TOO_MANY_LINKS,
        absl::StrCat("this node has its ", options_.limits.links, " links"));
  }
  // Before we say how far we are: nothing more may come on the old connection.
  if (const auto known = peers_.find(theirs.node()); known != peers_.end()) {
    Peer& peer = *known->second;
    if (peer.link->is_draining()) peer.link->EndDraining();
    if (peer.link->is_up()) peer.lost_at = environment_.clock.NowNs();
    peer.link->Detach();
  }
  const bool shares =
      transport == "shm" &&
      (options_.shares_with == nullptr || options_.shares_with(theirs.node()));
  *ours = MakeHello(theirs.node(), shares);
  ours->set_lane_bytes(endpoint.lane_bytes);
  return std::nullopt;
}

std::optional<v1::Reject> PeerTable::JudgeDuplicate(
    const v1::Hello& theirs, const std::string& identity) {
  const std::string& name = theirs.node();
  if (options_.node < name && HasClaimOn(name)) {
    return MakeReject(v1::Reject::DUPLICATE_LINK, "we are dialling you");
  }
  const auto known = peers_.find(name);
  if (known == peers_.end()) return std::nullopt;
  Peer& peer = *known->second;
  // Only the same process sends again what it has sent and we have not handed
  // out.
  if (peer.link->is_draining() && !Resumes(*peer.link, theirs)) {
    return MakeReject(v1::Reject::DUPLICATE_LINK,
                      "what came on the connection before is still handled");
  }
  if (peer.link->peer_incarnation() == theirs.incarnation() &&
      !Differ(peer.identity, identity) && theirs.number() != 0 &&
      theirs.number() < peer.hello_number) {
    // This Hello would make us forget what the two have exchanged since it was
    // sent.
    return MakeReject(v1::Reject::DUPLICATE_LINK,
                      "a later Hello of yours was here before");
  }
  if (!peer.link->is_up()) {
    const bool knows = !theirs.to().empty() || theirs.resume_incarnation() != 0;
    if (knows || peer.link->peer_incarnation() != theirs.incarnation()) {
      return std::nullopt;
    }
    // The connection would begin anew, and both would forget what waits for the
    // other. Refused only for a while: a client of another make may not know of
    // Hello.to.
    const TimeNs now = environment_.clock.NowNs();
    if (peer.asked_until == 0) {
      peer.asked_until = DeadlineAfter(now, options_.limits.handshake);
    }
    if (now >= peer.asked_until) return std::nullopt;
    return MakeReject(v1::Reject::DUPLICATE_LINK,
                      "we were connected: say so to the name in this");
  }
  if (auto reject = JudgeName(theirs, identity)) return reject;
  // A peer that would not resume did not know which node it dials, and would
  // make both of us forget what is on its way. If the peer has lost the
  // connection, we shall notice, and it comes again.
  const bool resumes = theirs.resume_incarnation() == options_.incarnation;
  if (!resumes || (peer.dialled_by_us && options_.node < name)) {
    return MakeReject(v1::Reject::DUPLICATE_LINK, "we are connected");
  }
  return std::nullopt;
}

std::optional<v1::Reject> PeerTable::JudgeName(
    const v1::Hello& theirs, const std::string& identity) const {
  const auto known = peers_.find(theirs.node());
  if (known == peers_.end()) return std::nullopt;
  const FramedLink& link = *known->second->link;
  if (!link.is_up()) return std::nullopt;
  // Each peer is told a node's incarnation and could claim it as its own, so
  // the identities count too.
  if (link.peer_incarnation() == theirs.incarnation() &&
      !Differ(known->second->identity, identity)) {
    return std::nullopt;
  }
  return MakeReject(
      v1::Reject::NODE_NAME_TAKEN,
      absl::StrCat("another process is connected as ", theirs.node()));
}

bool PeerTable::UsesLink(const Peer& peer) {
  return peer.seen || peer.connector != nullptr;
}

bool PeerTable::UsesLink(const std::string& name) const {
  const auto known = peers_.find(name);
  return known != peers_.end() && UsesLink(*known->second);
}

size_t PeerTable::LinksUsed() const {
  return static_cast<size_t>(
      std::count_if(peers_.begin(), peers_.end(),
                    [](const auto& peer) { return UsesLink(*peer.second); }));
}

bool PeerTable::HasClaimOn(const std::string& peer) const {
  return std::any_of(
      connectors_.begin(), connectors_.end(), [&](const auto& connector) {
        return connector->holds_claim() && connector->peer() == peer;
      });
}

void PeerTable::AbandonHandshakesWith(const std::string& peer) {
  for (const auto& connector : connectors_) {
    if (connector->peer() == peer) connector->AbandonHandshake();
  }
}

bool PeerTable::InHandshakeWith(const std::string& peer) const {
  return std::any_of(
      connectors_.begin(), connectors_.end(), [&](const auto& connector) {
        return connector->in_handshake() && connector->peer() == peer;
      });
}

}  // namespace mycelium
