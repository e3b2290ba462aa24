#ifndef MYCELIUM_ROUTING_FAN_OUT_H_
#define MYCELIUM_ROUTING_FAN_OUT_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mycelium/base/biased_mutex.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/fork_guard.h"
#include "mycelium/base/mutex.h"
#include "mycelium/codec/frame_encoder.h"
#include "mycelium/message/message_info.h"
#include "mycelium/message/payload.h"
#include "mycelium/routing/room_notice.h"
#include "mycelium/routing/room_waiter.h"
#include "mycelium/routing/subscription.h"
#include "mycelium/routing/wait_graph.h"
#include "mycelium/topology/settings.h"
#include "mycelium/transport/lane/lane.h"
#include "mycelium/transport/lane/ledger.h"

namespace mycelium {

// One route that a publisher's messages take, to one or more subscriptions.
struct PublishRoute {
  // Of this process; null for a link's lane.
  std::shared_ptr<Subscription> subscription;

  // The link's lane, the subscription's queue, or the lane that an inline
  // subscription keeps for when it is busy. Never null.
  std::shared_ptr<Lane> lane;

  // One for each subscription behind the lane.
  absl::InlinedVector<std::shared_ptr<FlowCounters>, 1> flows;

  // Where `subscription` counts what it has handled. It belongs to the
  // subscription, since routes of other publishers of the service lead there
  // too.
  FlowCounters* handled = nullptr;

  Overflow overflow = Overflow::kBlock;
  absl::Duration publish_timeout;  // The longest wait for room, under kBlock.
};

// What one publisher does with a message: it claims room on every route, in the
// order of the lanes, and commits when it has room on all. So a status that is
// not OK means that no subscription got the message. Inline handlers run last,
// outside the lock, on the calling thread.
//
// Thread safety: all members may be called from any thread. Messages of two
// threads are ordered as they commit, the same on every route.
//
// Locks: a link or queue is rung under the lock, so what a doorbell calls must
// never come back here.
//
// Allocates nothing for up to kRoutesInline routes.
class FanOut final {
 public:
  struct Options {
    const Origin* origin = nullptr;  // Kept, if it is shared.
    uint32_t publisher_id = 0;       // Unique in this run of the node.
    bool publish_time = false;       // Stamp every message.
    // The longest wait for room, on every route. None: as each route says.
    std::optional<absl::Duration> publish_timeout;
    // Takes away the routes to a lane that is full, if the policy is to
    // disconnect. Called with no lock held.
    std::function<void(const Lane&)> disconnect;
    // Finds waits that are in vain. Null: such waits last until the deadline.
    WaitGraph* waits = nullptr;
    // Called once when a wait for room has timed out.
    std::function<void(const Lane&)> on_stall;
    // Called at each drop that this counts.
    std::function<void()> on_drop;
    // Destroys what a user gave, later and with no lock held. Null: at once.
    RoomNotice::Discard discard;
  };

  FanOut(Environment& environment, RoomWaiter& room_waiter,
         const Options& options)
      : environment_(environment),
        room_waiter_(room_waiter),
        options_(options),
        room_notice_(environment.sys, options.discard) {}

  // Sends one message along every route.
  //   RESOURCE_EXHAUSTED   no room within the timeout, or none by policy
  //   INVALID_ARGUMENT     larger than a route takes
  //   FAILED_PRECONDITION  the publisher was closed, or the process forked
  //   UNAVAILABLE          a lane is full, and its reader out of reach; or as
  //                        SetWithoutRoutes() says
  absl::Status Publish(const Payload& payload) {
    return PublishOrWait(/*may_wait=*/true, payload);
  }

  // The same without waiting for room, and without calling a lane stalled.
  absl::Status TryPublish(const Payload& payload) {
    return PublishOrWait(/*may_wait=*/false, payload);
  }

  // Tells when to repeat a Publish() that was refused: when a lane has room or,
  // if having no subscribers is an error, when there are some.
  RoomNotice& room_notice() { return room_notice_; }

  // Replaces the routes. Calls `settle` in between, while nothing is published.
  // When this returns, a thread may still be running the handler of an old
  // route, and count for it. It is inside the subscription's gate, and until it
  // has left, the subscription and its counters must live, as they do by
  // Router::ForgetDrained().
  void SetRoutes(std::vector<PublishRoute> routes,
                 absl::FunctionRef<void()> settle);

  // What Publish() returns while there is no route. OK, the default, counts the
  // message as dropped[no_subscriber].
  void SetWithoutRoutes(absl::Status status);

  void Close();
  // FAILED_PRECONDITION: it was closed, or the process forked.
  absl::Status CheckOpen();

  const Options& options() const { return options_; }
  const Origin& origin() const { return *options_.origin; }
  size_t route_count();
  // Loans. Whether some subscriber reads, or could read, in shared memory; a
  // hint.
  bool MayLendToPeers() const {
    return may_lend_.load(std::memory_order_relaxed);
  }
  // How many routes would rather have a share of a large message than a copy of
  // their own; a hint.
  int sharer_count() const { return sharers_.load(std::memory_order_relaxed); }
  // Whether there are routes, and on all of them what is published from `place`
  // is read where it lies: in this process, or by a peer that has mapped it.
  // Asks peers that could map it to do so. Null: a place that no peer maps.
  bool IsReadInPlace(const LoanPlace* place);
  // Asks the peers that read in shared memory to map it.
  void OfferLoans(const std::shared_ptr<LoanMemory>& memory);
  // Lets go of loans that peers have released.
  void FinishLoans();

  // Counts of messages that found no route.
  Ledger unmatched() const { return unmatched_.Read(); }

 private:
  static constexpr size_t kRoutesInline = 8;

  // A message's hold on one route, between claim and delivery.
  struct Claim {
    const PublishRoute* route = nullptr;   // Valid under the lock.
    Subscription* subscription = nullptr;  // Entered, or to drain.
    FlowCounters* flow = nullptr;          // Of `subscription`.
    Lane* lane = nullptr;                  // Claimed; null if entered.
    absl::Span<std::byte> room;
    bool object = false;  // The frame holds an ObjectPayload, not bytes.
    bool local = false;   // The frame stays in this process.
    bool inside = false;  // The caller is inside the subscription's gate.
  };
  using Claims = absl::InlinedVector<Claim, kRoutesInline>;

  // What stopped ClaimAll().
  struct Obstacle {
    std::shared_ptr<Lane> lane;
    size_t frame_bytes = 0;
    Lane::ClaimResult result = Lane::ClaimResult::kClaimed;
    Overflow overflow = Overflow::kBlock;
    absl::Duration publish_timeout;              // Of the route.
    std::shared_ptr<Subscription> subscription;  // Of this process.
    uint32_t routes = 0;                         // `routes_number_` then.
  };

  // The ways that a message may take, see below.
  enum class Way { kAll, kOnlyInline, kOne, kCopies, kOnlyLane };

  absl::Status PublishOrWait(bool may_wait, const Payload& payload);
  // The whole of it for one lossless lane with one subscription behind it, if
  // no time is stamped: Way::kOne.
  absl::Status PublishToOne(bool may_wait, const Payload& payload);
  bool PublishToOneLocked(const Payload& payload)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The other ways. A function apart, as the next one is.
  ABSL_ATTRIBUTE_NOINLINE absl::Status PublishTo(Way way, bool may_wait,
                                                 const Payload& payload);
  // The rest of PublishOrWait(): any number of routes, or one that is not
  // ready. A function apart, since its many variables would cost the other
  // cases time.
  ABSL_ATTRIBUTE_NOINLINE absl::Status PublishToAll(bool may_wait,
                                                    const Payload& payload);
  // The whole of Publish() for one route, to an inline subscription of this
  // process that is idle. False: nothing was done.
  bool PublishToOnlyInline(const Payload& payload);
  // The same for several lossless lanes, or one with several subscriptions, if
  // no time is stamped and no queue of this process takes a share of the
  // message: encodes it once, and copies that.
  bool PublishCopies(const Payload& payload);
  bool ClaimCopies(size_t payload_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The same for one lane of any kind.
  bool PublishToOnlyLane(const Payload& payload);
  // What these use for one lane: claims room in it, and serialises there.
  bool PublishInPlace(const Payload& payload, size_t payload_bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FindWay() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Replaces the routes. Returns the lanes into which none leads any more.
  std::vector<std::shared_ptr<Lane>> TakeRoutes(
      std::vector<PublishRoute> routes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Tells those that wait for room in these lanes that they need not any more.
  void TellOfGone(const std::vector<std::shared_ptr<Lane>>& lanes);
  bool ClaimAll(const Payload& payload, Claims* claims, Obstacle* obstacle)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Fills `*claim` for the route's lane. Returns how much room it takes.
  size_t PrepareLaneClaim(const PublishRoute& route, const Payload& payload,
                          size_t payload_bytes, Claim* claim) const;
  bool ClaimLane(const PublishRoute& route, const Payload& payload,
                 size_t payload_bytes, Claims* claims, Obstacle* obstacle)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // With the lock, by which the lanes are kept.
  void AbandonLanes(const Claims& claims) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Without the lock, since leaving may run handlers. Nothing is claimed any
  // more.
  void LeaveGates(Claims* claims);
  void CommitAll(const Payload& payload, int64_t time_ns,
                 absl::Span<Claim> claims)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  FrameFields FieldsFor(const Claim& claim, FrameFields fields) const;
  // Makes the frame refer to the loan that is published. False: it cannot.
  bool PutLoan(const Payload& payload, FrameFields fields, Claim* claim);
  void FillRoom(const Payload& payload, const FrameFields& common, Claim* claim,
                absl::Span<const std::byte>* encoded);
  void CommitLane(const FrameFields& common, const Claim& claim);
  void Deliver(const Payload& payload, uint64_t sequence, int64_t time_ns,
               Claims* claims);
  // What one call has waited for. Each lane has a timeout of its own; all waits
  // together have the longest of these.
  struct Waits {
    const Lane* lane = nullptr;  // The last; null: none yet.
    TimeNs lane_since = 0;
    TimeNs since = 0;
    absl::Duration longest;
  };
  absl::Status Overcome(const Obstacle& obstacle, bool may_wait, Waits* waits);
  absl::Status WaitForRoom(const Obstacle& obstacle, bool may_wait,
                           Waits* waits);
  // Whether it is no obstacle any more, or a different one.
  bool IsOver(const Obstacle& obstacle) const;
  // Whether there is nothing to wait for: no reader, or other routes.
  bool IsGone(const Obstacle& obstacle) const;
  // Leaves a lane that is read in place to its reader for a moment, until there
  // is room for many messages.
  void LetReaderGetAhead(const Obstacle& obstacle, TimeNs deadline);
  // `*released`: Lane::released() when the lane was last seen to be full.
  RoomWaiter::Outcome AwaitRoom(const Obstacle& obstacle, TimeNs now,
                                TimeNs deadline, WaitGraph::Wait* wait,
                                uint64_t* released);
  void NoteDrop() const {
    if (options_.on_drop != nullptr) options_.on_drop();
  }
  absl::Status CheckOpenLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status WithoutRoutes() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Environment& environment_;
  RoomWaiter& room_waiter_;
  const Options options_;
  const std::shared_ptr<const Origin> kept_origin_ = options_.origin->Keep();

  const ForkGuard guard_;
  // Held from the first claim to the last commit.
  BiasedMutex mutex_{environment_};
  std::vector<PublishRoute> routes_ ABSL_GUARDED_BY(mutex_);
  // Counts how often they were replaced; it changes under the lock.
  std::atomic<uint32_t> routes_number_{0};
  // Which of the ways above may do. It changes under the lock; read without the
  // lock it is a hint.
  std::atomic<Way> way_{Way::kAll};
  bool has_local_ ABSL_GUARDED_BY(mutex_) = false;  // Some route is.
  // Of the only route, under Way::kOne.
  Lane* lane_ ABSL_GUARDED_BY(mutex_) = nullptr;
  FlowCounters* flow_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::atomic<bool> may_lend_{false};
  std::atomic<bool> in_circle_{false};  // The last wait for room was.
  std::atomic<int> sharers_{0};
  uint64_t sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  // A smaller object is serialised here and then copied: while it is written to
  // the lane bit by bit, a reader that polls would take the cache lines away.
  static constexpr size_t kSmallBytes = 1024 + 64;
  std::array<std::byte, kSmallBytes> small_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status without_routes_ ABSL_GUARDED_BY(mutex_);

  RoomNotice room_notice_;
  FlowCounters unmatched_;
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_FAN_OUT_H_
