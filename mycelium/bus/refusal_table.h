#ifndef MYCELIUM_BUS_REFUSAL_TABLE_H_
#define MYCELIUM_BUS_REFUSAL_TABLE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "mycelium/base/mutex.h"

namespace mycelium {

// Why subscriptions of this node do not get what some publishers publish. A
// refusal lasts as long as its cause, and is news once.
//
// Thread safety: all members may be called from any thread.
class RefusalTable final {
 public:
  // What refuses: a publisher of the node `peer`, or of this node if `peer` is
  // empty. Publisher 0 stands for the whole node. Or, if `lane` is not 0, that
  // this node cannot read that lane of the peer's.
  struct Cause {
    std::string peer;
    uint32_t publisher = 0;
    uint32_t lane = 0;
    bool operator<(const Cause& other) const {
      return std::tie(peer, publisher, lane) <
             std::tie(other.peer, other.publisher, other.lane);
    }
  };
  // How many are remembered for one subscription, at most.
  static constexpr size_t kRefusalsMax = 64;

  // Which publishers and subscriptions this node has. Calls about others of
  // this node, or about these after their end, are ignored.
  void AddPublisher(uint32_t publisher);
  void RemovePublisher(uint32_t publisher);
  void AddSubscription(uint32_t subscription);
  void RemoveSubscription(uint32_t subscription);

  // Returns whether this cause was not known yet, or with another status. What
  // passes by itself is no news (`is_news`): it ends no receive.
  bool Set(uint32_t subscription, const Cause& cause, absl::Status status,
           bool is_news = true);
  void Clear(uint32_t subscription, const Cause& cause);
  void RemovePeer(const std::string& peer);

  // A peer is back and says again which of its publishers refuse: a refusal
  // that it has not repeated by EndOfRepeats() is over.
  void ExpectRepeats(const std::string& peer);
  void EndOfRepeats(const std::string& peer);

  // Whether there may be any refusal. Takes no lock; the members below do.
  bool has_any() const { return count_.load(std::memory_order_acquire) > 0; }
  // A refusal that holds; OK if there is none.
  absl::Status Of(uint32_t subscription) const;
  // The same for the refusals that are news and that TakeNews() has not
  // returned.
  bool HasNews(uint32_t subscription) const;
  absl::Status TakeNews(uint32_t subscription);
  // All refusals that hold.
  struct Held {
    uint32_t subscription;
    Cause cause;
    absl::Status status;
  };
  std::vector<Held> All() const;
  // How much is remembered, for tests.
  size_t entry_count() const;

 private:
  struct Refusal {
    absl::Status status;
    bool is_told = false;
    bool is_stale = false;  // Said on a connection that is over.
  };
  using Refusals = std::map<Cause, Refusal>;

  template <typename Predicate>
  void EraseIf(Predicate predicate);

  mutable Mutex mutex_;
  std::map<uint32_t, Refusals> refusals_ ABSL_GUARDED_BY(mutex_);
  std::set<uint32_t> publishers_ ABSL_GUARDED_BY(mutex_);
  std::atomic<size_t> count_{0};
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_REFUSAL_TABLE_H_
