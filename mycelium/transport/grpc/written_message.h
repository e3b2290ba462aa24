#ifndef MYCELIUM_TRANSPORT_GRPC_WRITTEN_MESSAGE_H_
#define MYCELIUM_TRANSPORT_GRPC_WRITTEN_MESSAGE_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "mycelium/transport/grpc/byte_sink.h"
#include "mycelium/transport/grpc/link_message_encoder.h"
#include "mycelium/transport/grpc/loans.h"
#include "mycelium/transport/grpc/spare_bytes.h"

namespace mycelium {

// A message that gRPC keeps until it is out, longer than the write lasts: bytes
// of its own, and between them payloads that lie in lanes.
//
// Thread safety: gRPC lets go of it on any thread.
//
// Ownership: it owns itself until gRPC has let go of all of it. Then the bytes
// become spare, and the lanes' memory is let go of.
class WrittenMessage final {
 public:
  WrittenMessage(ByteSink bytes, std::vector<KeptBytes> kept,
                 std::shared_ptr<SpareBytes> spares,
                 std::shared_ptr<Loans> loans)
      : bytes_(std::move(bytes)),
        kept_(std::move(kept)),
        spares_(std::move(spares)),
        loans_(std::move(loans)) {
    if (!kept_.empty()) loans_->Begin();
  }

  // Call it once. After that only gRPC has this object.
  ::grpc::ByteBuffer ToBuffer() {
    std::vector<::grpc::Slice> slices;
    slices.reserve(2 * kept_.size() + 1);
    size_t at = 0;
    for (const KeptBytes& kept : kept_) {
      AddSlice(bytes_.data() + at, kept.at - at, &slices);
      AddSlice(kept.bytes.data(), kept.bytes.size(), &slices);
      at = kept.at;
    }
    AddSlice(bytes_.data() + at, bytes_.size() - at, &slices);
    ::grpc::ByteBuffer buffer(slices.data(), slices.size());
    slices.clear();
    Release(this);
    return buffer;
  }

 private:
  ~WrittenMessage() {
    spares_->GiveBack(std::move(bytes_));
    if (kept_.empty()) return;
    Loans::Keepers keepers;
    keepers.reserve(kept_.size());
    for (KeptBytes& kept : kept_) keepers.push_back(std::move(kept.keeper));
    loans_->End(std::move(keepers));
  }

  void AddSlice(const void* from, size_t bytes,
                std::vector<::grpc::Slice>* slices) {
    if (bytes == 0) return;
    references_.fetch_add(1, std::memory_order_relaxed);
    slices->emplace_back(const_cast<void*>(from), bytes, &Release, this);
  }
  static void Release(void* message) {
    auto* const self = static_cast<WrittenMessage*>(message);
    // Both orders: the thread that comes last sees what the others have done.
    if (self->references_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
    delete self;
  }

  ByteSink bytes_;
  std::vector<KeptBytes> kept_;
  const std::shared_ptr<SpareBytes> spares_;
  const std::shared_ptr<Loans> loans_;
  std::atomic<size_t> references_{1};  // ToBuffer()'s, then one of each slice.
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_WRITTEN_MESSAGE_H_
