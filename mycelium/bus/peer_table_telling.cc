// The part of PeerTable that tells programs and logs what becomes of peers.
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mycelium/bus/peer_table.h"

namespace mycelium {
namespace {

// The most bytes of reasons that are told; further ones are only logged.
constexpr size_t kFallbackBytesMax = 1024;

}  // namespace

void PeerTable::NoteUnanswered(Connector& connector, const absl::Status& status,
                               bool refused) {
  const TimeNs now = environment_.clock.NowNs();
  const std::string& name = connector.peer();
  MutexLock lock(mutex_);
  if (const auto known = peers_.find(name); known != peers_.end()) {
    unanswered_.erase(&connector);
    Peer& peer = *known->second;
    peer.last_error = std::string(status.message());
    // The peer that refused us is not there any more.
    if (!refused && !peer.link->is_up() &&
        peer.told == ConnectionEvent::State::kRefused) {
      peer.told.reset();
      peer.since = now;
    }
    return;
  }
  State& state = unanswered_[&connector];
  const auto told = refused
                        ? std::make_optional(ConnectionEvent::State::kRefused)
                        : std::nullopt;
  if (state.since == 0 || state.told != told) state.since = now;
  state.told = told;
  state.transport = std::string(connector.transport().word());
  state.address = connector.options().address;
  state.rule = asked_[&connector].rule;
  state.last_error = std::string(status.message());
}

void PeerTable::NoteFailure(absl::string_view transport,
                            const EndpointOptions& endpoint,
                            const absl::Status& status) {
  if (endpoint.stats != nullptr) endpoint.stats->CountHandshakeFailure();
  // The peer may not be known: say at least which node was asked, and over
  // which transport.
  absl::Status named(
      status.code(),
      absl::StrCat("node ", options_.node, ": a connection over ", transport,
                   " was not accepted: ", status.message()));
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    named.SetPayload(type, payload);
  });
  Tell("", transport, ConnectionEvent::State::kRefused, named);
}

void PeerTable::OnLeftBehind(Link& link, uint64_t messages) {
  options_.log(LogLevel::kError,
               absl::StrCat("node ", link.peer(), ": its process is gone, and ",
                            messages,
                            " messages that had come from it were not handed "
                            "out, since a handler did not return, or since it "
                            "had died before it sent what comes before them"));
}

void PeerTable::OnCorruptMemory(Link& link, const absl::Status& status) {
  {
    MutexLock lock(mutex_);
    PeerOf(link).last_error = std::string(status.message());
  }
  LogFailure(link.peer(), status);
}

void PeerTable::OnFallback(Link& link, const absl::Status& status) {
  {
    MutexLock lock(mutex_);
    const auto peer = peers_.find(link.peer());
    if (peer == peers_.end()) return;
    // Each lane may have its own reason. A peer may bring about as many as it
    // likes.
    std::string& told = peer->second->fallback;
    if (absl::StrContains(told, status.message())) return;
    if (told.size() + 2 + status.message().size() <= kFallbackBytesMax) {
      absl::StrAppend(&told, told.empty() ? "" : "; ", status.message());
    } else if (uint64_t left_out = 0; !peer->second->lane_lines.Allows(
                   environment_.clock.NowNs(), &left_out)) {
      return;
    }
  }
  options_.log(
      LogLevel::kWarning,
      absl::StrCat("link to ", link.peer(),
                   ": a lane goes over the socket: ", status.message()));
}

void PeerTable::OnLoansRefused(Link&, const absl::Status& status) {
  options_.log(LogLevel::kWarning, std::string(status.message()));
}

void PeerTable::OnLaneWaits(Link& link, const absl::Status& status) {
  uint64_t left_out = 0;  // A lane that waits on is told of again.
  if (!PeerOf(link).lane_lines.Allows(environment_.clock.NowNs(), &left_out)) {
    return;
  }
  options_.log(LogLevel::kWarning, std::string(status.message()));
}

void PeerTable::Tell(const std::string& peer, absl::string_view transport,
                     ConnectionEvent::State state, const absl::Status& status) {
  if (!status.ok() && state != ConnectionEvent::State::kGone) {
    LogFailure(peer, status);
  }
  if (const auto known = peers_.find(peer); known != peers_.end()) {
    const TimeNs now = environment_.clock.NowNs();
    MutexLock lock(mutex_);
    // Refused at another address than the one where the two are connected.
    const bool is_elsewhere = state == ConnectionEvent::State::kRefused &&
                              known->second->link->is_up();
    if (!is_elsewhere) {
      if (known->second->told != state) known->second->since = now;
      known->second->told = state;
    }
  }
  if (options_.on_connection == nullptr) return;
  ConnectionEvent event;
  event.peer = peer;
  event.transport = std::string(transport);
  event.state = state;
  event.status = status;
  options_.on_connection(event);
}

void PeerTable::LogFailure(const std::string& peer,
                           const absl::Status& status) {
  std::string line(status.message());
  uint64_t left_out = 0;
  if (peer.empty() &&
      !failure_lines_.Allows(environment_.clock.NowNs(), &left_out)) {
    return;
  }
  if (left_out > 0) absl::StrAppend(&line, " (after ", left_out, " more)");
  options_.log(LogLevel::kWarning, line);
}

void PeerTable::LogIfBad(Link& link, const absl::Status& status) {
  if (status.ok()) return;
  uint64_t left_out = 0;
  if (!PeerOf(link).fault_lines.Allows(environment_.clock.NowNs(), &left_out)) {
    return;
  }
  options_.log(
      LogLevel::kError,
      absl::StrCat("node ", link.peer(), ": ", status.message(),
                   left_out == 0
                       ? ""
                       : absl::StrCat("; and ", left_out,
                                      " faults since the last that was told")));
}

std::vector<PeerTable::State> PeerTable::States() const {
  MutexLock lock(mutex_);
  std::vector<State> states;
  for (const auto& [name, peer] : peers_) {
    State state;
    state.peer = name;
    state.transport = std::string(peer->link->transport());
    state.rule = peer->rule;
    state.is_up = peer->link->is_up();
    state.address = state.is_up && !peer->dialled_by_us ? "" : peer->address;
    state.last_error = state.is_up ? "" : peer->last_error;
    state.fallback = peer->fallback;
    state.told = peer->told;
    state.since = peer->since;
    states.push_back(std::move(state));
  }
  for (const auto& [connector, state] : unanswered_) states.push_back(state);
  return states;
}

}  // namespace mycelium
