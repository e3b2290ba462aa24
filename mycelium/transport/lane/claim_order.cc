#include "mycelium/transport/lane/claim_order.h"

#include <atomic>

namespace mycelium {

uint64_t NextClaimOrder() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace mycelium
