#ifndef MYCELIUM_ROUTING_SUBSCRIPTION_H_
#define MYCELIUM_ROUTING_SUBSCRIPTION_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/gate.h"
#include "mycelium/base/log.h"
#include "mycelium/base/mutex.h"
#include "mycelium/base/thread_number.h"
#include "mycelium/message/message_info.h"
#include "mycelium/message/payload.h"
#include "mycelium/routing/inbound_queue.h"
#include "mycelium/routing/lane_rule.h"
#include "mycelium/routing/local_frame.h"
#include "mycelium/routing/local_lane.h"
#include "mycelium/routing/spill_tracker.h"
#include "mycelium/topology/settings.h"
#include "mycelium/transport/lane/lane.h"
#include "mycelium/transport/lane/ledger.h"

namespace mycelium {

// How a subscriber wants its messages handled.
enum class DeliveryMode {
  kInline,  // On the thread that publishes, or that reads the link.
  kQueued,  // On the thread that takes them from the subscription's queue.
};

// What became of a message that was given to its handler or receiver. One word,
// which returns in a register: an optional is stored in two parts and read as
// one, for which a processor waits until both stores are done.
class MessageOutcome final {
 public:
  // True: it was handled. False: the payload is not of its type.
  MessageOutcome(bool decodable)
      : dropped_(decodable ? kHandled
                           : static_cast<int>(DropReason::kUndecodable)) {}
  MessageOutcome(DropReason reason) : dropped_(static_cast<int>(reason)) {}

  bool is_handled() const { return dropped_ == kHandled; }
  // REQUIRES: it was not handled.
  DropReason dropped() const { return static_cast<DropReason>(dropped_); }

 private:
  static constexpr int kHandled = -1;

  int dropped_;
};

// Takes one message.
using MessageHandler = std::function<MessageOutcome(const Payload& payload,
                                                    const MessageInfo& info)>;

// One handler or queue on one topic: the receiving end of every publisher that
// matches. It counts what it delivered, per publisher.
//
// Both modes have lanes, into which publishers of this process put what must
// wait. In queued mode they are the queue itself; in inline mode they take what
// came while the handler was busy. There is one lossless lane, and one for each
// lossy rule that some publisher's route has.
//
// Thread safety: all members may be called from any thread, unless a comment
// names the thread.
//
// Ownership: shared by the bus, the dispatcher and the routes that lead here.
class Subscription final : public Lane::Doorbell,
                           public std::enable_shared_from_this<Subscription> {
 public:
  struct Options {
    uint32_t id = 0;  // Unique in this run of the node.
    std::string service;
    std::string service_digest;  // 32 bytes, or none.
    std::string topic;
    std::string name;
    MessageType type;
    DeliveryMode mode = DeliveryMode::kInline;
    std::optional<Overflow> overflow;  // None: as the topology says.
    std::optional<int64_t> depth;      // The same.
    std::optional<int64_t> window;
    size_t lane_bytes = 0;
    size_t frame_bytes_max = 0;
    int64_t spin_ns = 0;  // How long a receiver spins before it sleeps.
    // Messages were dropped. Called with locks held; may be null.
    std::function<void()> on_drop;

    // Puts what this subscription asks for in place of what a route says.
    void Override(RouteSettings* settings) const {
      settings->overflow = overflow.value_or(settings->overflow);
      settings->depth = depth.value_or(settings->depth);
      settings->window = window.value_or(settings->window);
    }
  };
  static constexpr size_t kLanesMax = 8;

  static absl::StatusOr<std::shared_ptr<Subscription>> Create(
      Environment& environment, Options options, MessageHandler handler,
      LogSink log);
  ~Subscription() override;

  Environment& environment() { return environment_; }
  const Options& options() const { return options_; }
  const MessageType& type() const { return options_.type; }
  Gate& gate() { return gate_; }
  InboundQueue& queue() { return queue_; }
  // The lossless lane.
  Lane& lane() { return lanes_[0].load(std::memory_order_acquire)->lane(); }

  // The lane for messages of publishers with that rule, made at the first call.
  // RESOURCE_EXHAUSTED: there is no memory, or there are kLanesMax lanes with
  // other rules.
  absl::StatusOr<Lane*> LaneFor(const LaneRule& rule);
  std::vector<Lane*> Lanes();

  // The counters for messages of `origin`, which the subscription keeps from
  // the first call on. No frame of that origin may come before that.
  std::shared_ptr<FlowCounters> FlowFrom(const Origin& origin);

  // Runs the handler and counts. REQUIRES: the caller is inside the gate.
  void Run(FlowCounters& flow, const Payload& payload, const MessageInfo& info);

  // Leaves the gate, after running what was queued while the caller was inside.
  void Leave();

  // Runs what was queued, unless this was closed meanwhile, then leaves.
  // REQUIRES: the caller has entered by MarkPendingOrReserve().
  void DrainAndLeave();

  // Takes the next queued message and handles it with this subscription's
  // handler. Returns false if there was none. One thread at a time.
  bool RunNext();

  // Whether only the calling thread makes room in lane(): it is inside the
  // handler, or it is the thread that takes from the queue.
  bool IsConsumedByThisThread() const {
    return gate_.IsInside() || IsConsumer();
  }

  // Whether the calling thread is inside this subscription's handler, or is the
  // thread that runs it again and again.
  bool IsHandledByThisThread() const {
    return IsHandledBy(std::this_thread::get_id(), ThreadNumber());
  }
  // The same for a thread that sleeps, given its id and number.
  bool IsHandledBy(std::thread::id thread, uint64_t number) const {
    return gate_.IsInside(thread) ||
           (has_handler_ && number != 0 && consumer() == number);
  }

  bool IsConsumer() const {
    return consumer() != 0 && consumer() == ThreadNumber();
  }
  // The number of the thread that takes, or waits to take, which no later
  // thread has; 0 if there was none yet.
  uint64_t consumer() const {
    return consumer_.load(std::memory_order_relaxed);
  }

  // Makes the calling thread the thread that takes from queue().
  void SetConsumerThread() {
    if (IsConsumer()) return;
    consumer_.store(EnsureThreadNumber(), std::memory_order_relaxed);
    NoteThisThreadTakes();
  }
  // Whether the calling thread was ever that thread for some subscription.
  static bool HasThisThreadTaken();

  // Whether RunNext() may run the handler, or holds the room of its message.
  // Once this was false after Shut() or Close(), the handler does not run any
  // more. It may be true again for a moment, while RunNext() finds that nothing
  // is left.
  bool in_handler() const {
    return in_handler_.load(std::memory_order_acquire) != 0;
  }

  // Counts a message of `origin` that a pull took. For the thread that pulls.
  void CountPulled(const Origin& origin, MessageOutcome outcome);

  // Ends the subscription: no inline handler runs after this returns, except
  // the handler that called it, or one that waits for the caller in turn
  // (HandlerWait). A queued handler may be under way: see in_handler().
  // What is still queued counts as dropped[subscriber_gone]. A second call
  // waits for the same. The handler is destroyed by this call or, if another
  // thread runs it then, by that thread once the handler has returned.
  void Close();
  // The same without waiting for an inline handler. False: the handler runs on
  // another thread, which does the rest; gate().left_event() is notified when
  // that thread has left.
  bool Shut();
  // Drops what was put into a feed of queue() while Close() ran.
  void DropLate(InboundQueue::Feed& feed);
  bool closed() const { return closed_.load(std::memory_order_acquire); }
  // The same, for a thread that has just put a frame into a feed: either this
  // is true, or Close() finds the frame. Both read and write `closed_` in one
  // operation, so the second of them sees what the first did before.
  bool ClosedBehind() {
    bool is_closed = false;
    return !closed_.compare_exchange_strong(is_closed, false,
                                            std::memory_order_acq_rel);
  }

  // What this side counted, for each publisher.
  struct FlowLedger {
    const Origin* origin;
    Ledger ledger;
  };
  std::vector<FlowLedger> Ledgers() const;
  uint64_t handler_errors() const {
    return handler_errors_.load(std::memory_order_relaxed);
  }

  void OnCommit(Lane& lane) override;

 private:
  void LeaveAfterDraining();
  class Drops;

  Subscription(Environment& environment, Options options,
               MessageHandler handler, LogSink log);

  static void NoteThisThreadTakes();
  LocalLane* LaneAt(size_t index) {
    return index < kLanesMax ? lanes_[index].load(std::memory_order_acquire)
                             : nullptr;
  }
  void ReleaseHandler();
  void OnOutForGood();
  bool TakeSpilled(FrameView* frame, LocalLane** from);
  void DrainSpill();
  void DropSpilled();
  void FinishSpilled(const FrameView& frame, LocalLane& from);
  void DropFrame(const FrameView& frame, DropReason reason);
  FlowCounters& CachedFlow(const Origin& origin);
  void Count(FlowCounters& flow, MessageOutcome outcome) {
    if (outcome.is_handled()) return flow.CountDelivered();
    CountDropped(flow, outcome.dropped());
  }
  void CountDropped(FlowCounters& flow, DropReason reason);
  void ReportHandlerError(const char* what);

  Environment& environment_;
  const Options options_;
  const bool has_handler_;
  // Belongs to the thread inside the gate or in RunNext(); at the end, to the
  // thread that takes it away under `drop_mutex_`.
  MessageHandler handler_;
  const LogSink log_;
  Mutex lanes_mutex_;
  std::vector<std::shared_ptr<LocalLane>> owned_lanes_
      ABSL_GUARDED_BY(lanes_mutex_);
  std::vector<LaneRule> rules_ ABSL_GUARDED_BY(lanes_mutex_);
  // The same lanes, for threads that must not lock. Only ever grows. In inline
  // mode the lanes are read inside the gate.
  std::array<std::atomic<LocalLane*>, kLanesMax> lanes_ = {};
  Gate gate_;
  InboundQueue queue_;
  std::atomic<bool> closed_{false};
  std::atomic<uint32_t> in_handler_{0};  // 0 or 1.
  std::atomic<uint64_t> handler_errors_{0};
  std::atomic<uint64_t> consumer_{0};

  Mutex drop_mutex_;

  mutable Mutex flows_mutex_;
  struct Flow {
    std::shared_ptr<const Origin> origin;  // Keeps the key.
    std::shared_ptr<FlowCounters> counters;
  };
  std::map<const Origin*, Flow> flows_ ABSL_GUARDED_BY(flows_mutex_);

  // The last flow looked up. Used inside the gate, or by the consuming thread.
  alignas(64) const Origin* cached_origin_ = nullptr;
  FlowCounters* cached_flow_ = nullptr;
};

// Inline, since every message passes here.

inline void Subscription::Run(FlowCounters& flow, const Payload& payload,
                              const MessageInfo& info) {
  MessageOutcome outcome = true;
  try {
    outcome = handler_(payload, info);
  } catch (const std::exception& error) {
    ReportHandlerError(error.what());
  } catch (...) {
    ReportHandlerError("an exception that is no std::exception");
  }
  Count(flow, outcome);
}

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_SUBSCRIPTION_H_
