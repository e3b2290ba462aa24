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
  // Who refuses: a publisher of the node `peer`, or of this one if that is
  // empty. Publisher 0 stands for the whole node. Or what does not work: to
  // read that lane of the peer's.
  struct Cause {
    std::string peer;
    uint32_t publisher = 0;
    uint32_t lane = 0;
    bool operator<(const Cause& other) const {
      return std::tie(peer, publisher, lane) <
             std::tie(other.peer, other.publisher, other.lane);
    }
  };
  // Of one subscription; more are not remembered.
  static constexpr size_t kRefusalsMax = 64;

  // What causes and subscriptions of this node there are. What is said of
  // others, or after their end, is ignored.
  void AddPublisher(uint32_t publisher);
  void RemovePublisher(uint32_t publisher);
  void AddSubscription(uint32_t subscription);
  void RemoveSubscription(uint32_t subscription);

  // Returns whether it was not known in these words. What passes by itself is
  // no news: it ends no receive.
  bool Set(uint32_t subscription, const Cause& cause, absl::Status status,
           bool is_news = true);
  void Clear(uint32_t subscription, const Cause& cause);
  void RemovePeer(const std::string& peer);

  // A peer is back and says again which of its publishers refuse: what it has
  // not said by EndOfRepeats() is over.
  void ExpectRepeats(const std::string& peer);
  void EndOfRepeats(const std::string& peer);

  // Whether there may be any: the members below take a lock.
  bool has_any() const { return count_.load(std::memory_order_acquire) > 0; }
  // One that holds; OK if there is none.
  absl::Status Of(uint32_t subscription) const;
  // The same of those that TakeNews() has not returned.
  bool HasNews(uint32_t subscription) const;
  absl::Status TakeNews(uint32_t subscription);
  // All that hold.
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
