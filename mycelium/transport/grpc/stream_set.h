#ifndef MYCELIUM_TRANSPORT_GRPC_STREAM_SET_H_
#define MYCELIUM_TRANSPORT_GRPC_STREAM_SET_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/event_count.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/base/mutex.h"
#include "mycelium/transport/grpc/grpc_stream.h"
#include "mycelium/transport/grpc/loans.h"

namespace mycelium {

// The streams that gRPC may still call. They are kept alive until gRPC lets go
// of them and the loop, or at the end Close(), destroys them. For with the last
// stream that dialled, gRPC ends its own threads, and none of those threads may
// be the one that does it.
//
// Thread safety: Add(), Remove(), NotifyEnded() and All() may be called from
// any thread, gRPC's among them; the others from the loop's, or when nobody
// runs it any more.
//
// Ownership: shared by the transport and, in circles, by the streams. So
// streams that gRPC never lets go of stay, and this object with them.
class StreamSet final : public std::enable_shared_from_this<StreamSet> {
 public:
  // `on_ended` is called on the loop when some have ended.
  StreamSet(Environment& environment, EventLoop& loop,
            std::function<void()> on_ended)
      : environment_(&environment),
        loop_(&loop),
        on_ended_(std::move(on_ended)),
        loans_(std::make_shared<Loans>(environment)) {}

  // What the streams have lent to gRPC.
  const std::shared_ptr<Loans>& loans() const { return loans_; }

  void Add(std::shared_ptr<GrpcStream> stream) {
    MutexLock lock(mutex_);
    GrpcStream* const key = stream.get();
    streams_[key] = std::move(stream);
  }

  // Called as the last thing that gRPC does with a stream.
  void Remove(GrpcStream& stream) {
    MutexLock lock(mutex_);
    const auto known = streams_.find(&stream);
    if (known == streams_.end()) return;
    // No reference may stay on this thread, which is gRPC's: the loop may be
    // quicker, and then the last one would go here.
    ended_.push_back(std::move(known->second));
    streams_.erase(known);
    if (loop_ != nullptr && !std::exchange(collecting_, true)) {
      loop_->Post([set = shared_from_this()] { set->Collect(); });
    }
    if (environment_ != nullptr) ended_event_.Notify(environment_->waiter);
  }

  // Something else has ended, which Await() may be waiting for.
  void NotifyEnded() {
    MutexLock lock(mutex_);
    if (environment_ != nullptr) ended_event_.Notify(environment_->waiter);
  }

  std::vector<std::shared_ptr<GrpcStream>> All() const {
    MutexLock lock(mutex_);
    std::vector<std::shared_ptr<GrpcStream>> all;
    for (const auto& [key, stream] : streams_) all.push_back(stream);
    return all;
  }

  // The loop must not be used any more, and nobody is told.
  void ForgetLoop() {
    on_ended_ = nullptr;
    MutexLock lock(mutex_);
    loop_ = nullptr;
  }

  // Waits until there is no stream. False: there still is one.
  bool AwaitEmpty(int64_t wait_ns) {
    return Await([this] { return IsEmpty(); }, wait_ns);
  }
  // Waits until `holds`, which is asked again whenever a stream has ended.
  bool Await(absl::FunctionRef<bool()> holds, int64_t wait_ns) {
    const TimeNs deadline = environment_->clock.NowNs() + wait_ns;
    while (!holds()) {
      if (environment_->clock.NowNs() >= deadline) return false;
      EventCount::Sleeper sleeper(ended_event_);
      if (holds()) break;
      sleeper.Until(environment_->waiter, deadline);
    }
    return true;
  }

  // After ForgetLoop(): destroys the streams that have ended. The environment
  // is not used any more.
  void Close() {
    std::vector<std::shared_ptr<GrpcStream>> ended;
    MutexLock lock(mutex_);
    environment_ = nullptr;
    ended.swap(ended_);
    // The lock goes first, then the streams.
  }

 private:
  // On the loop.
  void Collect() {
    std::vector<std::shared_ptr<GrpcStream>> ended;
    {
      MutexLock lock(mutex_);
      collecting_ = false;
      ended.swap(ended_);
    }
    for (const auto& stream : ended) stream->StopLingering();
    ended.clear();
    if (on_ended_ != nullptr) on_ended_();
  }

  bool IsEmpty() const {
    MutexLock lock(mutex_);
    return streams_.empty();
  }

  EventCount ended_event_;
  mutable Mutex mutex_;
  Environment* environment_;  // Changed with the lock held.
  EventLoop* loop_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> on_ended_;  // On the loop.
  const std::shared_ptr<Loans> loans_;
  std::map<GrpcStream*, std::shared_ptr<GrpcStream>> streams_
      ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<GrpcStream>> ended_ ABSL_GUARDED_BY(mutex_);
  bool collecting_ ABSL_GUARDED_BY(mutex_) = false;  // A task is posted.
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_STREAM_SET_H_
