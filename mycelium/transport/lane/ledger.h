#ifndef MYCELIUM_TRANSPORT_LANE_LEDGER_H_
#define MYCELIUM_TRANSPORT_LANE_LEDGER_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <numeric>

#ifdef MYCELIUM_MISCOUNT
#include <cstdlib>
#include <cstring>
#endif

#include "mycelium/transport/lane/drop_reason.h"

namespace mycelium {

// What became of messages, as plain numbers. For every publisher and
// subscription, once nothing moves:
//   accepted = delivered + sum of dropped + in_flight
// where `accepted` was counted by the publisher and `delivered` by the
// subscriber. None of them is computed from the others. A message that a pull
// subscriber has received and not finished is both delivered and in flight.
struct Ledger {
  uint64_t accepted = 0;
  uint64_t delivered = 0;
  uint64_t in_flight = 0;
  std::array<uint64_t, kDropReasonCount> dropped = {};

  uint64_t dropped_total() const {
    return std::accumulate(dropped.begin(), dropped.end(), uint64_t{0});
  }
  uint64_t dropped_for(DropReason reason) const {
    return dropped[static_cast<size_t>(reason)];
  }
  bool Balances() const {
    return accepted == delivered + dropped_total() + in_flight;
  }

  Ledger& operator+=(const Ledger& other) {
    accepted += other.accepted;
    delivered += other.delivered;
    in_flight += other.in_flight;
    for (size_t i = 0; i < dropped.size(); ++i) dropped[i] += other.dropped[i];
    return *this;
  }
};

// The counters behind a Ledger, for one publisher and one subscription. Each
// counter has one writer at a time. The writer holds the lock or token that
// orders the messages anyway, so that counting is a plain store.
//
// Thread safety: any thread may read; see above for writing.
class FlowCounters final {
 public:
  void CountAccepted() { Add(accepted_, 1 - Forgotten("accepted", 63)); }
  void CountDelivered() { Add(delivered_, 1 - Forgotten("delivered", 63)); }

  // Several places may drop: this one is a read-modify-write.
  void CountDropped(DropReason reason, uint64_t messages) {
    if (messages > 0) messages -= Forgotten("dropped", 0);
    dropped_[static_cast<size_t>(reason)].fetch_add(messages,
                                                    std::memory_order_relaxed);
  }

  Ledger Read() const {
    Ledger ledger;
    ledger.accepted = accepted_.load(std::memory_order_relaxed);
    ledger.delivered = delivered_.load(std::memory_order_relaxed);
    for (size_t i = 0; i < kDropReasonCount; ++i) {
      ledger.dropped[i] = dropped_[i].load(std::memory_order_relaxed);
    }
    return ledger;
  }

 private:
#ifndef MYCELIUM_MISCOUNT  // Defined only to show that the tests notice.
  static constexpr uint64_t Forgotten(const char*, uint64_t) { return 0; }
#else
  // 1 at every (mask + 1)th call for the counter that the environment names.
  uint64_t Forgotten(const char* counter, uint64_t mask) {
    const char* const named = std::getenv("MYCELIUM_MISCOUNT");
    if (named == nullptr || std::strcmp(named, counter) != 0) return 0;
    return (++miscount_ & mask) == 0 ? 1 : 0;
  }
  std::atomic<uint64_t> miscount_{0};
#endif

  static void Add(std::atomic<uint64_t>& counter, uint64_t messages) {
    counter.store(counter.load(std::memory_order_relaxed) + messages,
                  std::memory_order_relaxed);
  }

  // The publisher's and the subscriber's counter on lines of their own.
  alignas(64) std::atomic<uint64_t> accepted_{0};
  alignas(64) std::atomic<uint64_t> delivered_{0};
  std::array<std::atomic<uint64_t>, kDropReasonCount> dropped_ = {};
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_LEDGER_H_
