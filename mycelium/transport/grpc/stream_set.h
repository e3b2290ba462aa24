#ifndef MYCELIUM_TRANSPORT_GRPC_STREAM_SET_H_
#define MYCELIUM_TRANSPORT_GRPC_STREAM_SET_H_

#include <map>
#include <memory>
#include <vector>

#include "mycelium/base/environment.h"
#include "mycelium/base/event_count.h"
#include "mycelium/base/mutex.h"
#include "mycelium/transport/grpc/grpc_stream.h"

namespace mycelium {

// The streams that gRPC may still call, kept alive until it lets go of them,
// and until a thread of ours destroys them: with the last one that dialled gRPC
// ends its own threads, which none of these survives if it is the one that does
// it.
//
// Thread safety: all members may be called from any thread, Reap() and the
// destructor not from one of gRPC's.
class StreamSet final {
 public:
  explicit StreamSet(Environment& environment) : environment_(environment) {}

  void Add(std::shared_ptr<GrpcStream> stream) {
    MutexLock lock(mutex_);
    GrpcStream* const key = stream.get();
    streams_[key] = std::move(stream);
  }

  // The last that gRPC does with a stream.
  void Remove(GrpcStream& stream) {
    MutexLock lock(mutex_);
    const auto known = streams_.find(&stream);
    if (known == streams_.end()) return;
    ended_.push_back(std::move(known->second));
    streams_.erase(known);
    // With the lock held: whoever sees that it is empty may destroy this.
    empty_event_.Notify(environment_.waiter);
  }

  // Destroys those that have ended, as far as nobody else needs them.
  void Reap() {
    std::vector<std::shared_ptr<GrpcStream>> ended;
    MutexLock lock(mutex_);
    ended.swap(ended_);
    // The lock goes first, then they.
  }

  std::vector<std::shared_ptr<GrpcStream>> All() const {
    MutexLock lock(mutex_);
    std::vector<std::shared_ptr<GrpcStream>> all;
    for (const auto& [key, stream] : streams_) all.push_back(stream);
    return all;
  }

  // Waits until there is none.
  void AwaitEmpty(TimeNs deadline) {
    while (!IsEmpty() && environment_.clock.NowNs() < deadline) {
      EventCount::Sleeper sleeper(empty_event_);
      if (IsEmpty()) return;
      sleeper.Until(environment_.waiter, deadline);
    }
  }

 private:
  bool IsEmpty() const {
    MutexLock lock(mutex_);
    return streams_.empty();
  }

  Environment& environment_;
  EventCount empty_event_;
  mutable Mutex mutex_;
  std::map<GrpcStream*, std::shared_ptr<GrpcStream>> streams_
      ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<GrpcStream>> ended_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_STREAM_SET_H_
