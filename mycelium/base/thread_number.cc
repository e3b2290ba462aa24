#include "mycelium/base/thread_number.h"

#include <atomic>

namespace mycelium {
namespace thread_number_internal {

__thread uint64_t number = 0;

}  // namespace thread_number_internal

uint64_t EnsureThreadNumber() {
  static std::atomic<uint64_t> last{0};
  uint64_t& number = thread_number_internal::number;
  if (number == 0) number = last.fetch_add(1, std::memory_order_relaxed) + 1;
  return number;
}

}  // namespace mycelium
