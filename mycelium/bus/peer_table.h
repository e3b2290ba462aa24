#ifndef MYCELIUM_BUS_PEER_TABLE_H_
#define MYCELIUM_BUS_PEER_TABLE_H_

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/event_count.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/base/random.h"
#include "mycelium/bus/connector.h"
#include "mycelium/bus/endpoint_options.h"
#include "mycelium/bus/line_limit.h"
#include "mycelium/bus/observers.h"
#include "mycelium/bus/options.h"
#include "mycelium/routing/dispatcher.h"
#include "mycelium/routing/peer_text.h"
#include "mycelium/routing/router.h"
#include "mycelium/transport/framed_link.h"
#include "mycelium/transport/handshake.h"

namespace mycelium {

// The other nodes that this one knows: their names, the link to each, and what
// is being done to get or keep that link. One link per pair of nodes: of two
// connections that are dialled at once, the one dialled by the node whose name
// sorts first stays.
//
// A link that is lost keeps its lanes for `retain`; if the same process is back
// by then, they go on where they were.
//
// Thread safety: on the loop, except the members that say otherwise.
//
// A peer that this node does not dial is forgotten when it has left.
//
// Ownership: borrows all it is given.
class PeerTable final : public LinkHandler {
 public:
  // The largest lanes that an endpoint may have if we did not ask for its
  // capacity: this side reserves as much for each.
  static constexpr uint64_t kLaneBytesUnaskedMax = 64 << 20;
  // How often the lanes that wait for memory are tried again.
  static constexpr int64_t kLaneRetryNs = 100'000'000;

  struct Options {
    std::string node;
    uint64_t incarnation = 0;
    Limits limits;
    // How long the lanes of a link to that peer outlive it.
    std::function<absl::Duration(const std::string& peer)> retain;
    std::string topology_digest;  // 32 bytes, or empty.
    // kCompatible: subscriptions tell peers what their types are.
    SchemaPolicy schema = SchemaPolicy::kExact;
    // Null: links of this node share no memory.
    SharedMemory* shared_memory = nullptr;
    std::string no_memory;  // Why it is null.
    // Whether memory may be shared with that peer, which has dialled us.
    std::function<bool(const std::string& peer)> shares_with;
    std::function<void(const ConnectionEvent&)> on_connection;
    LogSink log;
  };
  struct Callbacks {
    // Our services, with the digests that they insist on.
    std::function<std::map<std::string, std::optional<Digest>>()> services;
    // A peer refuses a subscription of ours. `theirs`: the peer's type, if that
    // is the reason and the peer has said it; else null.
    std::function<void(const std::string& peer, const v1::SubscribeRefused&,
                       PeerText* theirs)>
        on_refused;
    // A peer is connected. `resumed`: it is the same process as before.
    std::function<void(const std::string& peer, bool resumed)> on_up;
    // A peer has said again what it said on the connection before.
    std::function<void(const std::string& peer)> on_repeated;
    // A peer is gone.
    std::function<void(const std::string& peer)> on_gone;
    // A peer has disconnected a subscription of ours.
    std::function<void(const std::string& peer, uint32_t subscription)>
        on_disconnected;
    // A lane of a peer's to a subscription of ours waits for memory; OK: no
    // longer.
    std::function<void(const std::string& peer, uint32_t lane,
                       uint32_t subscription, const absl::Status&)>
        on_lane_waits;
    // A peer waits for room in a lane that a queue of ours reads.
    std::function<void(const Subscription& queue, const v1::RoomAwaited&)>
        on_room_awaited;
    // How many messages to and from a peer this side has dropped. Any thread.
    std::function<DropCounts(const std::string& peer)> drops;
    // A publisher of a peer is gone for good.
    std::function<void(const Dispatcher::Parted&)> on_publisher_gone;
    // What this node tells observers.
    std::function<v1::NodeStatus()> status;
  };

  PeerTable(Environment& environment, EventLoop& loop, Random& random,
            Router& router, Dispatcher& dispatcher, Options options,
            Callbacks callbacks);
  ~PeerTable() override;

  // Keeps a connection to that address. `rule`: why, for reports.
  // `lane_bytes`: if not 0, an endpoint with lanes of another size is refused.
  // A second call for the same transport and address adds no connection: the
  // address is tried at once, unless the node that answered there last is
  // connected and is dialled again there, and from then on with these
  // `lane_bytes`; the rest stays as in the first call. While that node is
  // dialled again at another address, a call is what it takes to learn that
  // another node has replaced it here.
  void Dial(Transport& transport, const std::string& address,
            const std::string& expected_peer, const std::string& rule,
            uint64_t lane_bytes = 0);

  // Takes a connection that a peer has dialled or, unless `admitted` is OK,
  // tells the peer that it may not connect. `transport`: the listener's word;
  // over "shm", memory may be shared.
  void Accept(absl::string_view transport,
              std::shared_ptr<const EndpointOptions> endpoint,
              std::unique_ptr<Channel> channel, const absl::Status& admitted);

  // Tells every peer of a subscription, or of its end.
  void Subscribe(const Subscription& subscription);
  void Unsubscribe(const Subscription& subscription);

  // Says goodbye on every connection and refuses new ones. Each connection ends
  // when its peer has answered.
  void Part();
  // After Part(): ends every connection that is left. What peers have not taken
  // over counts as dropped[shutdown].
  void Shutdown();

  // Any thread:
  // Whether no connection is up.
  bool HasParted() const;
  // Notified when one has ended after Part().
  EventCount& parted_event() { return parted_event_; }
  std::vector<std::shared_ptr<FramedLink>> Links() const;
  struct State {
    std::string peer, transport, address, rule, last_error, fallback;
    bool is_up = false;
    // What the program was told last; none: no node has answered yet.
    std::optional<ConnectionEvent::State> told;
    TimeNs since = 0;  // Since when.
  };
  std::vector<State> States() const;

  // LinkHandler:
  void OnLoansRefused(Link& link, const absl::Status& status) override;
  void OnLoansClosed(Link& link) override;
  void OnLost(Link& link, const std::vector<LostFrames>& lost) override;
  void OnReplaced(Link& link) override;
  void OnResuming(Link& link) override;
  void OnUp(Link& link, const v1::Hello& peer, bool resumed) override;
  void OnDraining(Link& link) override;
  void OnDown(Link& link, const absl::Status& status) override;
  void OnControl(Link& link, const v1::Control& control) override;
  void OnLeftBehind(Link& link, uint64_t messages) override;
  void OnCorruptMemory(Link& link, const absl::Status& status) override;
  void OnFallback(Link& link, const absl::Status& status) override;
  void OnLaneWaits(Link& link, const absl::Status& status) override;
  void BeginFrames() override { dispatcher_.BeginFrames(); }
  void InterruptFrames() override { dispatcher_.InterruptFrames(); }
  void EndFrames() override { dispatcher_.EndFrames(); }
  FrameOutcome OnFrame(Link& link, uint32_t lane, const FrameView& frame,
                       uint64_t end) override;

 private:
  struct Peer {
    std::shared_ptr<FramedLink> link;
    Connector* connector = nullptr;  // That dials it, if one does.
    std::string address, rule, last_error;
    std::string fallback;        // Why memory is not shared that could be.
    std::string not_shared;      // The same for the connection itself.
    bool dialled_by_us = false;  // The connection that is up.
    bool seen = false;           // Was up since it was last forgotten.
    bool leaving = false;        // Has said goodbye.
    std::optional<ConnectionEvent::State> told;  // As in State.
    TimeNs since = 0;
    // Until then the peer is asked to say which node it dials: see Hello.to.
    TimeNs asked_until = 0;
    uint64_t retain_timer = 0;
    uint64_t orphan_timer = 0;  // 0: nothing waits for it.
    // Of the last connection: the numbers of the peer's Hello and of ours.
    uint64_t hello_number = 0;
    uint64_t our_number = 0;
    std::string identity;  // Of the process at its other end, past or present.
    TimeNs lost_at = 0;    // When it ended.
    // Which subscriptions of each type the peer was told of, on the connection
    // that is up: the first one brought the type's text.
    std::map<Digest, std::set<uint32_t>> told_with_text;
    LineLimit fault_lines{1};              // Of LogIfBad().
    LineLimit lane_lines{1};               // About lanes.
    std::shared_ptr<EndpointStats> stats;  // Which count this link.
  };

  Peer& PeerNamed(const std::string& name, absl::string_view transport);
  Peer& PeerOf(Link& link);
  v1::Hello MakeHello(const std::string& peer, bool shares);
  // The callbacks of a connector.
  Connector::Say SayHello(const Connector& connector, v1::Hello* hello);
  absl::Status JudgeAnswer(const Handshake::Established& answer,
                           uint64_t lane_bytes) const;
  void OnEstablished(Connector& connector, Handshake::Established established);
  void OnFailure(Connector& connector, const absl::Status& status);
  std::optional<v1::Reject> Judge(const v1::Hello& theirs,
                                  absl::string_view transport,
                                  const EndpointOptions& endpoint,
                                  const std::string& identity, v1::Hello* ours);
  void NoteSharing(Peer& peer, const Handshake::Established& established);
  // `identity`: Channel::peer_identity() of the peer that sent the Hello.
  std::optional<v1::Reject> JudgeDuplicate(const v1::Hello& theirs,
                                           const std::string& identity);
  // Whether another process has the link of that node.
  std::optional<v1::Reject> JudgeName(const v1::Hello& theirs,
                                      const std::string& identity) const;
  // `endpoint`: where the connection was accepted; null if we dialled it.
  void Attach(absl::string_view transport, Handshake::Established established,
              const EndpointOptions* endpoint);
  void CountFor(Peer& peer, std::shared_ptr<EndpointStats> stats);
  // Tells of a connection that was not let in, or whose handshake failed.
  void NoteFailure(absl::string_view transport, const EndpointOptions& endpoint,
                   const absl::Status& status);
  // A connector did not get through, to a peer that is known or to an address
  // where no node has answered yet.
  void NoteUnanswered(Connector& connector, const absl::Status& status,
                      bool refused);
  // Forgets a peer; if a Hello to it is under way, once it has had the time to
  // answer.
  void GiveUp(Peer& peer, const absl::Status& status);
  void Forget(Peer& peer, const absl::Status& status);
  void DropOrphansAt(Peer& peer, TimeNs deadline);
  // Dials the peer wherever it was seen.
  void RedialAll(const Peer& peer);
  void ForgetInbound(Link& link);
  void Erase(const std::string& name);
  void LogFailure(const std::string& peer, const absl::Status& status);
  void Tell(const std::string& peer, absl::string_view transport,
            ConnectionEvent::State state, const absl::Status& status);
  // Logs only now and then (`fault_lines`), since a peer may be at fault again
  // and again.
  void LogIfBad(Link& link, const absl::Status& status);
  void OpenLane(Link& link, const v1::LaneOpen& open);
  void SayLaneWaits(Link& link, uint32_t lane, absl::string_view reason);
  void RetryLanesLater();
  void SendSubscribe(Peer& peer, const Subscription& subscription);
  bool InHandshakeWith(const std::string& peer) const;
  // Whether a Hello of ours to that peer goes before one of its own.
  bool HasClaimOn(const std::string& peer) const;
  void AbandonHandshakesWith(const std::string& peer);
  // Whether both sides remember each other, so that lanes go on.
  bool Resumes(const FramedLink& link, const v1::Hello& theirs) const {
    return theirs.resume_incarnation() == options_.incarnation &&
           theirs.incarnation() == link.peer_incarnation();
  }
  // A peer that has left may still be remembered, but takes no link.
  static bool UsesLink(const Peer& peer);
  bool UsesLink(const std::string& name) const;
  size_t LinksUsed() const;

  Environment& environment_;
  EventLoop& loop_;
  Random& random_;
  Router& router_;
  Dispatcher& dispatcher_;
  const Options options_;
  const Callbacks callbacks_;
  bool shutting_down_ = false;
  uint64_t lane_timer_ = 0;  // 0: no lane waits.
  uint64_t last_hello_ = 0;  // The number of the last one that we made.
  EventCount parted_event_;
  LineLimit failure_lines_{10};  // About peers that have no name yet.
  Observers observers_;

  mutable Mutex mutex_;  // For readers on other threads; the loop writes.
  std::map<std::string, std::unique_ptr<Peer>> peers_;
  // Addresses where no node has said its name yet, once a try has failed.
  std::map<const Connector*, State> unanswered_;
  std::vector<std::unique_ptr<Connector>> connectors_;
  struct Asked {
    std::string rule;
    uint64_t lane_bytes = 0;
  };
  std::map<const Connector*, Asked> asked_;  // For each of these.
  struct Accepted {
    std::shared_ptr<Handshake> handshake;
    std::shared_ptr<const EndpointOptions> endpoint;
  };
  std::list<Accepted> handshakes_;  // The oldest first.
  // Links that other threads may still look at.
  std::vector<std::shared_ptr<FramedLink>> erased_;
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_PEER_TABLE_H_
