#ifndef TESTS_FUZZ_FAKE_CHANNEL_H_
#define TESTS_FUZZ_FAKE_CHANNEL_H_

#include <memory>
#include <string>
#include <utility>

#include "google/protobuf/stubs/logging.h"
#include "mycelium/base/clock.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/transport/channel.h"
#include "tests/fuzz/input.h"

namespace mycelium::test {

// The fuzzer's end of a connection.
//
// Thread safety: none.
class FakeWire final {
 public:
  // Offers bytes as a channel does: bytes that were not used before come in
  // front of them.
  void Deliver(absl::Span<const std::byte> bytes) {
    if (handler_ == nullptr || closed_) return;
    arrived_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    Offer();
  }
  // Offers again the bytes that are there.
  void Offer() {
    if (handler_ == nullptr || closed_ || arrived_.empty()) return;
    TightCopy offered(absl::MakeConstSpan(
        reinterpret_cast<const std::byte*>(arrived_.data()), arrived_.size()));
    const size_t used = handler_->OnBytes(offered.bytes());
    Require(used <= arrived_.size(), "no more is used than was offered");
    arrived_.erase(0, used);
  }
  void End() {
    if (handler_ == nullptr || std::exchange(closed_, true)) return;
    handler_->OnClosed(absl::UnavailableError("the peer closed"));
  }

  bool closed() const { return closed_; }
  size_t unused_bytes() const { return arrived_.size(); }
  // The bytes that the product sent.
  const std::string& sent() const { return sent_; }

 private:
  friend class FakeChannel;

  Channel::Handler* handler_ = nullptr;
  std::string arrived_;
  std::string sent_;
  bool closed_ = false;
};

// The product's end. Ownership: borrows the wire.
class FakeChannel final : public Channel {
 public:
  explicit FakeChannel(FakeWire& wire) : wire_(wire) {}
  ~FakeChannel() override { Close(); }

  void Start(Handler& handler) override { wire_.handler_ = &handler; }
  absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces) override {
    if (wire_.closed_) return absl::UnavailableError("the peer closed");
    size_t count = 0;
    for (const iovec& piece : pieces) {
      wire_.sent_.append(static_cast<const char*>(piece.iov_base),
                         piece.iov_len);
      count += piece.iov_len;
    }
    return count;
  }
  void Close() override { wire_.closed_ = true; }
  const std::string& peer_description() const override { return description_; }

 private:
  FakeWire& wire_;
  const std::string description_ = "a fuzzer";
};

// Time that stands still, and an event loop that is made once for many inputs.
class FuzzWorld final {
 public:
  FuzzWorld() : loop_(*EventLoop::Create(environment_)) {
    // Protobuf would complain of each string that is not text.
    google::protobuf::SetLogHandler(nullptr);
  }

  Environment& environment() { return environment_; }
  EventLoop& loop() { return *loop_; }
  // Runs the posted tasks, and the tasks that those post.
  void RunPosted() {
    while (loop_->RunOnce(/*deadline=*/0, /*spin_ns=*/0) ==
           EventLoop::Ran::kSomething) {
    }
  }

 private:
  class StandingClock final : public Clock {
   public:
    TimeNs NowNs() override { return 1'000; }
    int64_t WallNs() override { return 1'000; }
  };

  StandingClock clock_;
  Environment environment_{Environment::Real().sys, clock_,
                           Environment::Real().waiter};
  std::unique_ptr<EventLoop> loop_;
};

}  // namespace mycelium::test

#endif  // TESTS_FUZZ_FAKE_CHANNEL_H_
