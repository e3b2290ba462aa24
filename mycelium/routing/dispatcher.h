#ifndef MYCELIUM_ROUTING_DISPATCHER_H_
#define MYCELIUM_ROUTING_DISPATCHER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/mutex.h"
#include "mycelium/message/message_info.h"
#include "mycelium/routing/connection_texts.h"
#include "mycelium/routing/departed_subscriptions.h"
#include "mycelium/routing/gate_stay.h"
#include "mycelium/routing/link_publishers.h"
#include "mycelium/routing/origin_table.h"
#include "mycelium/routing/peer_text.h"
#include "mycelium/routing/spill_tracker.h"
#include "mycelium/routing/staging_feed.h"
#include "mycelium/routing/subscription.h"
#include "mycelium/topology/settings.h"
#include "mycelium/transport/link.h"

namespace mycelium {

// Hands what arrives on links to the subscriptions of this node. The peer says
// which frames belong to which subscription (Matched, Unmatched), so that what
// it counts as accepted and what is delivered here are the same messages. Its
// twin for what leaves is the Router.
//
// Thread safety: subscriptions come and go from any thread; everything about a
// link happens on the loop.
//
// Ownership: borrows links; shares subscriptions.
class Dispatcher final {
 public:
  // `schema`: whether messages of another, compatible version of a
  // subscription's type are taken. `on_other_version`, which may be null, is
  // called on the loop when a publisher of such a version is matched.
  // `on_drop`, which may be null, is called at each drop that is counted here.
  explicit Dispatcher(
      Environment& environment, SchemaPolicy schema = SchemaPolicy::kExact,
      std::function<void(const std::string& note)> on_other_version = nullptr,
      std::function<void()> on_drop = nullptr)
      : environment_(environment),
        schema_(schema),
        on_other_version_(std::move(on_other_version)),
        on_drop_(std::move(on_drop)) {}

  void Add(std::shared_ptr<Subscription> subscription);
  void Remove(uint32_t subscription);
  std::shared_ptr<Subscription> Find(uint32_t subscription) const;
  std::vector<std::shared_ptr<Subscription>> All() const;

  // What was dropped because it came after its subscription had ended and been
  // forgotten, or came from a publisher that was refused. `node` is ours.
  std::vector<FlowReport> DepartedReports(const std::string& node) const;

  // The one object for all that publish as `origin`.
  std::shared_ptr<const Origin> Intern(Origin origin) {
    return origins_.Intern(std::move(origin));
  }

  // How many different origins all peers together may make us remember. Beyond
  // those, publishers are told apart only by the topics and types of
  // subscriptions that we have.
  static constexpr size_t kOriginsMax = 64 * 1024;

  // From the loop: the messages of a link that are for the dispatcher.
  // INVALID_ARGUMENT, RESOURCE_EXHAUSTED: the declaration is beyond a bound; a
  // peer that keeps to link_bounds.h never is. The publisher is refused. In
  // shared lanes it is not known for which subscriptions its frames are: they
  // are dropped, each counted once. A subscription with a lane of its own gets
  // them, without names.
  absl::Status OnDeclare(Link& link, const v1::PublisherDeclare& declare);
  // INVALID_ARGUMENT: the peer matches a publisher to a subscription of another
  // topic or type. The subscription gets none of its messages, which count as
  // dropped. Two versions of a type match only with the publisher's text, which
  // comes with the declaration or before. RESOURCE_EXHAUSTED: the publisher has
  // too many matches.
  absl::Status OnMatched(Link& link, const v1::Matched& matched);
  void OnUnmatched(Link& link, const v1::Unmatched& unmatched);
  // A connection to the same process as before is up: the peer says again which
  // matches there are. Those that it has not said by EndOfMatches() are over,
  // and all that was sent for them is handled.
  void AwaitMatches(Link& link);
  // The canonical text of the type that the peer refuses to send; null: the
  // text is not known. Valid until the next call.
  PeerText* HearText(Link& link, const v1::SubscribeRefused& refused);
  void EndOfMatches(Link& link);
  // RESOURCE_EXHAUSTED: there is no memory to take the lane's frames into. The
  // lane waits for RetryLanes(), and the others of the link go on.
  absl::Status OnLaneOpen(Link& link, const v1::LaneOpen& open);
  // Makes the queues that lanes wait for, and resumes these lanes. Returns
  // which.
  struct WaitingLane {
    Link* link;
    uint32_t lane;
    uint32_t subscription;
  };
  std::vector<WaitingLane> RetryLanes();
  bool HasWaitingLanes() const;
  // The subscription whose queue reads that lane. Null: there is none.
  std::shared_ptr<Subscription> QueueOf(Link& link, uint32_t lane);
  // Returns the subscription whose lane had waited for memory; 0: none.
  uint32_t OnLaneClosed(Link& link, uint32_t lane);
  void OnLoansClosed(Link& link);
  // See LinkHandler. A row may have frames of several links.
  void BeginFrames() { stay_.Begin(); }
  void InterruptFrames() { stay_.Leave(); }
  void EndFrames() { stay_.End(); }
  LinkHandler::FrameOutcome OnFrame(Link& link, uint32_t lane,
                                    const FrameView& frame, uint64_t end);

  // A publisher of a peer that a subscription of ours was matched with.
  struct Parted {
    std::shared_ptr<Subscription> subscription;
    std::shared_ptr<const Origin> origin;
  };

  // The process at the other end is gone. What queues have from it stays there.
  std::vector<Parted> RemoveLink(Link& link);

  // How much is remembered, for tests, except of subscriptions that have ended,
  // which has a bound. On the loop.
  size_t entry_count() const;
  // Whether the next frame may go the way of the last one, for tests. On the
  // loop.
  bool has_only_route() const { return only_.link != nullptr; }

 private:
  using Publisher = LinkPublishers::Publisher;
  using Match = LinkPublishers::Match;

  // A lane that a queue reads. Both null: the subscription is gone, and what
  // comes for it is dropped.
  struct Queue {
    std::shared_ptr<StagingFeed> feed;
    std::shared_ptr<Subscription> subscription;
  };
  struct Inbox {
    explicit Inbox(const Link& link) : publishers(link) {}

    LinkPublishers publishers;
    // By lane: `queues` and `waiting` of lanes that lead into queues, `spills`
    // of lanes whose handlers run on the loop.
    std::map<uint32_t, Queue> queues;
    std::map<uint32_t, v1::LaneOpen> waiting;  // For a feed.
    std::map<uint32_t, std::shared_ptr<SpillTracker>> spills;
    std::set<uint32_t> inline_lanes;  // Besides lane 0.
    // By lane, the frame that one subscription could not take now, and the
    // subscriptions that have it already: the frame will be offered again.
    struct Partial {
      uint64_t end;
      std::vector<uint32_t> subscriptions;
    };
    std::map<uint32_t, Partial> partials;
    ConnectionTexts texts;
    std::string last_note;  // Said once for many publishers of one type.
  };

  using FrameOutcome = LinkHandler::FrameOutcome;

  Inbox& InboxOf(Link& link);
  // Whether `subscription` is one for messages of that publisher's type.
  bool MayRead(const Inbox& inbox, const Subscription& subscription,
               const Digest& digest) const;
  void NoteVersion(Inbox& inbox, const Subscription& subscription,
                   const Publisher& publisher);
  // OnFrame() for lanes other than 0, which inline subscriptions share.
  FrameOutcome OnFrameOfLane(Link& link, Inbox& inbox, Publisher& publisher,
                             uint32_t lane, const FrameView& frame,
                             uint64_t end);
  FrameOutcome DeliverInline(Link& link, Inbox& inbox, Publisher& publisher,
                             uint32_t lane, const FrameView& frame,
                             uint64_t end);
  // Where frames go in the commonest case: those of one publisher, in one lane,
  // to the handler of its only match.
  struct OnlyRoute {
    const Link* link = nullptr;  // Null: there is no route.
    uint32_t lane = 0;
    uint32_t publisher_id = 0;
    uint64_t digest_prefix = 0;
    uint64_t from_sequence = 0;
    uint64_t until_sequence = 0;  // The last frame before it ends the match.
    Subscription* subscription = nullptr;
    FlowCounters* flow = nullptr;
    const Origin* origin = nullptr;
  };
  // Makes `only_` the way of frames like that one, if there is one. The frame
  // itself may lie outside the match's range.
  bool FindOnlyRoute(const Link& link, const Inbox& inbox,
                     const Publisher& publisher, uint32_t lane,
                     const FrameView& frame);
  // The whole delivery by `only_`. False: the frame goes another way, or its
  // handler is busy or over; nothing was done with the frame.
  bool DeliverByOnlyRoute(const Link& link, uint32_t lane,
                          const FrameView& frame);
  // Delivers a frame for handlers, and finds the way for the next ones.
  FrameOutcome DeliverToHandlers(Link& link, Inbox& inbox, Publisher& publisher,
                                 uint32_t lane, const FrameView& frame,
                                 uint64_t end);
  // OnFrame() for what does not go by `only_`.
  FrameOutcome OnFrameSlowly(Link& link, uint32_t lane, const FrameView& frame,
                             uint64_t end);
  void CountDropped(FlowCounters& flow, DropReason reason) const;
  bool DeliverTo(SpillTracker& spills, const Match& match, const Origin& origin,
                 const FrameView& frame);
  bool Spill(SpillTracker& spills, Subscription& subscription,
             const Origin& origin, const FrameView& frame);
  FrameOutcome OnFrameOfRefused(Link& link, Inbox& inbox, uint32_t lane,
                                const FrameView& frame, uint64_t end);
  // Drops a frame of a lane that leads into a queue.
  static FrameOutcome Skip(const Queue& queue, uint64_t end);
  FrameOutcome PutInQueue(const Queue& queue, const Origin& origin,
                          const FrameView& frame, uint64_t end);
  absl::Status MakeQueue(Link& link, Inbox& inbox, const v1::LaneOpen& open);
  std::shared_ptr<const Origin> OriginOf(const Link& link, Inbox& inbox,
                                         const v1::PublisherDeclare& declare);
  // The one origin for all publishers without names of that link, which publish
  // to `subscription` or, if it is null, to none.
  std::shared_ptr<const Origin> NamelessOrigin(
      const Link& link, const Subscription* subscription);

  Environment& environment_;
  const SchemaPolicy schema_;
  const std::function<void(const std::string& note)> on_other_version_;
  const std::function<void()> on_drop_;
  mutable Mutex mutex_;
  std::map<uint32_t, std::shared_ptr<Subscription>> subscriptions_
      ABSL_GUARDED_BY(mutex_);
  DepartedSubscriptions departed_;
  OriginTable origins_;
  // On the loop:
  std::map<Link*, Inbox> inboxes_;
  const Link* last_link_ = nullptr;  // Whose inbox OnFrameSlowly() used last.
  Inbox* last_inbox_ = nullptr;
  // The way that was found last. It holds until a match, a publisher or a link
  // changes, or a frame may be left unfinished: InboxOf(), RemoveLink() and
  // DeliverInline() forget it. The latter does so before it calls handlers,
  // which cannot make frames of the same lane arrive: a link is not polled
  // within its own poll. RetryLanes() need not, since no frame of a lane that
  // waits is delivered.
  OnlyRoute only_;
  GateStay stay_;
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_DISPATCHER_H_
