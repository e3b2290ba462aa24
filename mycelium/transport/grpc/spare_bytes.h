#ifndef MYCELIUM_TRANSPORT_GRPC_SPARE_BYTES_H_
#define MYCELIUM_TRANSPORT_GRPC_SPARE_BYTES_H_

#include <cstddef>
#include <utility>
#include <vector>

#include "mycelium/base/mutex.h"
#include "mycelium/transport/grpc/byte_sink.h"

namespace mycelium {

// Buffers that are kept for the next messages, so that the kernel need not
// provide and clear memory for each large one.
//
// Thread safety: all members may be called from any thread.
class SpareBytes final {
 public:
  // How many are kept, and how large one may be.
  static constexpr size_t kSparesMax = 2;
  static constexpr size_t kSpareBytesMax = 4 << 20;

  // An empty buffer.
  ByteSink Take() {
    MutexLock lock(mutex_);
    if (spares_.empty()) return ByteSink();
    ByteSink spare = std::move(spares_.back());
    spares_.pop_back();
    spare.Truncate(0);
    return spare;
  }

  void GiveBack(ByteSink bytes) {
    if (bytes.capacity() > kSpareBytesMax) return;
    MutexLock lock(mutex_);
    if (spares_.size() < kSparesMax) spares_.push_back(std::move(bytes));
  }

 private:
  Mutex mutex_;
  std::vector<ByteSink> spares_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_SPARE_BYTES_H_
