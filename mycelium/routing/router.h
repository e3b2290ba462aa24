#ifndef MYCELIUM_ROUTING_ROUTER_H_
#define MYCELIUM_ROUTING_ROUTER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/mutex.h"
#include "mycelium/message/message_info.h"
#include "mycelium/message/message_type.h"
#include "mycelium/routing/connection_texts.h"
#include "mycelium/routing/fan_out.h"
#include "mycelium/routing/flow_report_table.h"
#include "mycelium/routing/flow_table.h"
#include "mycelium/routing/lane_rule.h"
#include "mycelium/routing/peer_text.h"
#include "mycelium/routing/router_entries.h"
#include "mycelium/routing/schema_mismatch.h"
#include "mycelium/routing/subscription.h"
#include "mycelium/topology/settings.h"
#include "mycelium/transport/link.h"

namespace mycelium {

// Matches publishers of this node with subscriptions, here and at the other end
// of links, and keeps the routes of every publisher up to date. Its twin for
// what arrives is the Dispatcher.
//
// A publisher and a subscription match if their topics are equal and the
// publisher names no other service as its target. The subscription is refused,
// and both sides get the error, if their types differ and are not two versions
// that both nodes accept for one another, or if the schema digests that their
// services were given differ.
//
// Thread safety: all members may be called from any thread, with no lock held
// that a link's or publisher's members take.
//
// Ownership: borrows links and origins; shares publishers and subscriptions.
class Router final {
 public:
  // What the owner is asked and told. `settings` and `on_drop` are called with
  // locks held, of the router or of a publisher, and must take none; the others
  // are called with none held.
  struct Callbacks {
    // The settings for messages of that origin to that node and service.
    std::function<RouteSettings(const Origin& origin, const std::string& node,
                                const std::string& service)>
        settings;
    // That publisher refuses a subscription of this process: its type or schema
    // digest differs. Publisher 0: the subscription gets nothing more from this
    // node.
    std::function<void(Subscription&, uint32_t publisher, const absl::Status&)>
        on_local_refusal;
    // A publisher of this node refused a subscription of a peer. If several
    // publishers do so in the same words, it is called once.
    std::function<void(const absl::Status&)> on_refusal;
    // Whether subscriptions of this process are matched at all.
    bool matches_local = true;
    // Whether subscriptions of peers that have another, compatible version of
    // the type are matched.
    SchemaPolicy schema = SchemaPolicy::kExact;
    // Such a subscription was matched. May be null.
    std::function<void(const std::string& note)> on_other_version;
    // How many processes may die of a message before it is dropped.
    uint64_t redeliver_max = 3;
    // Messages were dropped. May be null.
    std::function<void()> on_drop;
    // A subscription of a peer has no lane or lacks some publisher, as
    // on_refusal has said. RetryLanes() is to be called a little later.
    std::function<void()> retry_later;
  };

  Router(Environment& environment, Callbacks callbacks)
      : environment_(environment), callbacks_(std::move(callbacks)) {}

  // Adds a publisher of `type`. `when_unmatched`: see
  // FanOut::SetWithoutRoutes(). `service_digest`: the schema digest that its
  // service insists on, 32 bytes or none.
  void AddPublisher(std::shared_ptr<FanOut> publisher, const MessageType& type,
                    absl::Status when_unmatched,
                    const std::string& service_digest = "");
  // Closes the publisher; what it published is still delivered.
  void RemovePublisher(FanOut& publisher);

  void AddLocal(std::shared_ptr<Subscription> subscription);
  void RemoveLocal(const Subscription& subscription);

  // Do what a peer's Subscribe, Unsubscribe and CanonicalText messages ask for.
  // A link has at most kRemotesMax subscriptions, orphans included; the peer is
  // told when one is refused.
  static constexpr size_t kRemotesMax = 4096;
  // The most that one Subscribe may have, with all its names and what a newer
  // peer may add, but without its canonical text.
  static constexpr size_t kSubscribeBytesMax = 4096;
  static constexpr uint32_t kAllPublishers = ~uint32_t{0};
  void AddRemote(Link& link, const v1::Subscribe& subscribe);
  void RemoveRemote(Link& link, uint32_t subscription);
  // The peer has said again, on a new connection, all that it subscribes to:
  // what it did not say is over.
  void EndOfSubscriptions(Link& link);
  // The texts of one link together have at most kExplanationsBytesMax, each
  // counted once. Beyond that the oldest are forgotten, and refusals no longer
  // name the difference.
  static constexpr size_t kExplanationsBytesMax = 1 << 20;
  void ExplainRefusal(Link& link, const v1::CanonicalText& text);

  // That lane is full, and the overflow of its subscription is disconnect: no
  // publisher of this node reaches it any more. The subscription gets what is
  // in the lane and is told after that; one of this process is told at once.
  void Disconnect(const Lane& lane);
  // Sends `awaited` to the peer that reads that lane, if there is one.
  void TellAwaited(const Lane& lane, v1::RoomAwaited awaited);
  // Makes the lanes that could not be made, so that lack of memory at one
  // moment does not leave a subscription out for good. Also matches publishers
  // for which there was no room (link_bounds.h).
  void RetryLanes();

  // A connection to the same process as before comes up: until Repeat() no text
  // is left out because it was sent before.
  void AwaitRepeat(const Link& link);
  // It is up: tells the peer again what it must know of publishers and matches.
  void Repeat(Link& link);

  // Frames of a lane are damaged, and left out: counts them as undecodable.
  void CountLost(const Lane& lane, const std::vector<FrameHeader>& frames);

  // Another process has taken the place of the one at the other end. The old
  // one's subscriptions are kept until `deadline`, for the new process: its
  // subscription of the same service, topic and name gets what was not handled.
  void Orphan(Link& link, TimeNs deadline);
  // Ends the orphans that were not taken over and whose deadline is not after
  // `now`. Returns the earliest deadline of the others; kNever: there are none.
  TimeNs DropOrphans(Link& link, TimeNs now);

  // The process at the other end is gone, or we leave: what it has not handled
  // counts as dropped for that reason.
  void RemoveLink(Link& link, DropReason reason);

  // Closes every publisher, also future ones: the node has shut down.
  void ClosePublishers();

  // How many subscriptions the publisher reaches now.
  size_t SubscriberCount(const FanOut& publisher) const;
  // Why subscriptions do not get what the publisher publishes.
  std::vector<absl::Status> Refusals(const FanOut& publisher) const;
  // Whether there are refusals, and all of them are final. The refusal of a
  // peer's subscription can name the first difference only when the peer has
  // answered with its type.
  bool AreRefusalsExplained(const FanOut& publisher) const;
  // Notified when the subscribers or the refusals may have changed.
  EventCount& changed_event() { return changed_; }

  // For one service: its publishers that are not closed, and the lanes that may
  // have something that it published.
  std::vector<std::shared_ptr<FanOut>> PublishersOf(
      const std::string& service) const;
  std::vector<std::shared_ptr<Lane>> LanesOf(const std::string& service) const;

  // What every publisher of this node has counted, per subscription.
  FlowReportTable Reports() const;

  // How much is remembered, for tests, except of flows that are over, which
  // FlowReportTable bounds.
  size_t entry_count() const;

 private:
  using Remote = RemoteSubscription;
  using Flow = PublisherFlow;
  using Publisher = PublisherEntry;
  using Publishers = std::vector<std::unique_ptr<Publisher>>;
  using Deferred = std::vector<std::function<void()>>;

  // The publishers of a topic; empty if there are none.
  absl::Span<const std::unique_ptr<Publisher>> PublishersTo(
      const std::string& topic) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Rematch(const std::string& topic, Deferred* deferred)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Lets go of closed publishers of the topic that have nothing in flight.
  void ForgetClosed(const std::string& topic)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The same for a few topics that had some. Called when publishers and
  // subscriptions come and go, so that topics that nothing else touches are
  // forgotten as fast as new ones come.
  void ForgetSome() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RematchPublisher(Publisher& publisher, Deferred* deferred)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MatchLocal(Publisher& publisher,
                  const std::shared_ptr<Subscription>& subscription,
                  std::vector<PublishRoute>* routes, Deferred* deferred)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `flow`: the open flow that leads to `remote` already, or null.
  void MatchRemote(Publisher& publisher, Remote& remote, Flow* flow,
                   std::vector<PublishRoute>* routes, Deferred* deferred)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Refuse(Publisher& publisher, Remote& remote, Deferred* deferred)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether `remote` can read messages of that type.
  bool MayRead(const MessageType& type, const Remote& remote) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether that depends on the text of `remote`, which is not there.
  bool NeedsText(const MessageType& type, const Remote& remote) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `remote` reads that type of a publisher's, also once its text is forgotten.
  void KeepVersion(const MessageType& type, Remote& remote)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `remote` has been matched with a publisher of that type.
  void NoteVersion(const MessageType& type, Remote& remote, Deferred* deferred)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether the new process may read what lies in the lanes of the old one.
  bool MayReadWhatIsKept(const Remote& orphan, const v1::Subscribe& subscribe)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetSubscribe(Remote& remote, const v1::Subscribe& subscribe)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `text`: the peer's canonical text of its type. The texts of a link are
  // bounded by kExplanationsBytesMax.
  void SetText(Remote& remote, const std::string& text)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The text with that digest, of any remote of that link; null: none has it.
  std::shared_ptr<PeerText> TextOf(const Link& link, const Digest& digest) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // There is no lane, or no room, for the reason in `status`. Tries again
  // later.
  void AwaitRetry(Publisher& publisher, Remote& remote,
                  const absl::Status& status, Deferred* deferred)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether one more flow is within link_bounds.h.
  absl::Status CheckRoom(const Publisher& publisher, const Remote& remote) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  enum class Refusal { kStands, kIsOver, kAsks };
  void SendRefused(const Publisher& publisher, Remote& remote, Refusal refusal)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Tells the peer that the remote lacks something, for the reason in
  // `remote.lacks`; empty: that it lacks nothing any more.
  static void SendLacks(const Remote& remote);
  absl::StatusOr<std::shared_ptr<Lane>> LaneOf(Remote& remote,
                                               const RouteSettings& settings)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  RouteSettings SettingsOf(const Publisher& publisher,
                           const Remote& remote) const;
  Flow& OpenFlow(Publisher& publisher, Remote& remote,
                 const std::shared_ptr<Lane>& lane)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Tells the peer that flows of one link are open, or that they have ended.
  void TellOfFlows(const Publisher& publisher, absl::Span<Flow* const> flows)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TellOfMatch(const Publisher& publisher, Flow& flow);
  void TellOfEnd(const Publisher& publisher, const Flow& flow,
                 uint64_t until_sequence) const;
  static v1::Control DeclarationOf(const Publisher& publisher);
  void ForgetTexts(const Link& link) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The type's text, if the peer can take it and does not have it.
  std::string TextFor(const Link& link, const MessageType& type)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndFlows(Publisher& publisher, DropReason reason,
                absl::FunctionRef<bool(const Flow&)> which)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BoundTexts(const Link& link) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Remote* FindRemote(const Link& link, uint32_t subscription)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddNewRemote(Link& link, const v1::Subscribe& subscribe,
                    Deferred* deferred) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasTooMany(const Link& link) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void Refuse(Link& link, const v1::Subscribe& subscribe,
                     const std::string& reason);
  // The remote is over: its flows count what is left as dropped for `reason`.
  void EndRemote(uint64_t serial, DropReason reason, Deferred* deferred)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Adopt(Remote& orphan, const v1::Subscribe& subscribe)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // If the shared lane is parked and no orphan is waited for any more: the lane
  // goes on, or is dropped if no subscription is left.
  void ReleaseSharedLane(Link& link) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropSharedLane(Link& link) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The flow is over with frames left in its lane.
  void NoteLeft(const Publisher& publisher, const Flow& flow)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TellOfLeft(Link& link) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropPoison(Link& link) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropTooLarge(Link& link) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Counts what Lane::Refit() took out, and makes flows keep what is left.
  void CountTakenOut(const Lane& lane,
                     const std::vector<FrameHeader>& taken_out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The frame may be damaged. If its publisher has no flow there, it is counted
  // for another publisher, one whose flow there may have it.
  void CountOneDropped(const Lane& lane, const FrameHeader& frame,
                       DropReason reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SettleLocal(const Subscription& subscription)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndFlow(Publisher& publisher, Flow& flow)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetDrained(Publisher& publisher)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Frames of the flow at or after that position that are not handled.
  uint64_t InFlight(const Publisher& publisher, const Flow& flow,
                    uint64_t from = 0) const;
  FlowReport Report(const Publisher& publisher, const Flow& flow) const;
  // The report of messages that found no subscription, if there were any.
  static std::optional<FlowReport> UnmatchedOf(const Publisher& publisher);
  const Publisher* Find(const FanOut& fan_out) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunDeferred(Deferred* deferred);

  Environment& environment_;
  const Callbacks callbacks_;
  mutable Mutex mutex_;
  // By topic, as is `locals_`; a topic without any is removed.
  std::map<std::string, Publishers> publishers_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::vector<std::shared_ptr<Subscription>>> locals_
      ABSL_GUARDED_BY(mutex_);
  // Topics with closed publishers, and the one that ForgetSome() looked at
  // last.
  std::set<std::string> lingering_ ABSL_GUARDED_BY(mutex_);
  std::string last_looked_at_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, Remote> remotes_ ABSL_GUARDED_BY(mutex_);  // By serial.
  uint64_t next_remote_ ABSL_GUARDED_BY(mutex_) = 1;
  uint64_t explanations_ ABSL_GUARDED_BY(mutex_) = 0;  // That ever came.
  // Ids of local subscriptions that fell behind.
  std::set<uint32_t> disconnected_ ABSL_GUARDED_BY(mutex_);
  std::map<const Link*, SharedLane> shared_lanes_ ABSL_GUARDED_BY(mutex_);
  std::map<const Link*, ConnectionTexts> texts_said_ ABSL_GUARDED_BY(mutex_);
  std::set<const Link*> resuming_ ABSL_GUARDED_BY(mutex_);  // By AwaitRepeat().
  // How many publishers have flows on a link. Not 0.
  std::map<const Link*, size_t> publishers_on_ ABSL_GUARDED_BY(mutex_);
  bool retry_is_due_ ABSL_GUARDED_BY(mutex_) = false;
  // Counts RetryLanes(). A remote that lacks something all the time is reported
  // once, one that does so again and again at most once in two rounds.
  uint64_t retry_round_ ABSL_GUARDED_BY(mutex_) = 2;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;  // By ClosePublishers().
  // The sums of flows that are over.
  FlowReportTable ended_ ABSL_GUARDED_BY(mutex_);
  EventCount changed_;
};

// The error for a subscription that Router::Disconnect() has ended.
absl::Status DisconnectedError(absl::string_view topic, absl::string_view node);

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_ROUTER_H_
