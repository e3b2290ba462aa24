#ifndef MYCELIUM_TRANSPORT_LOCAL_SOCKET_LOCAL_CHANNEL_H_
#define MYCELIUM_TRANSPORT_LOCAL_SOCKET_LOCAL_CHANNEL_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/base/fd.h"
#include "mycelium/base/mutex.h"
#include "mycelium/transport/channel.h"
#include "mycelium/transport/local_socket/local_socket.h"

namespace mycelium {

// A connected Unix socket as a channel. See Channel for the contract.
//
// The connection ends when the socket does. A child that the peer forked may
// hold the socket too, so the end of the peer's process counts as well, where
// the kernel tells of it.
//
// Sending takes one system call for all the pieces given, which are copied
// together if they are small. Receiving is one call for as much as the buffer
// holds; the buffer grows while a single frame fills it, up to
// `buffer_bytes_max`.
//
// Invariants, on the loop:
//  (1) A handler is offered what its predecessor left before any other byte,
//      and before its OnClosed(): `owes_offer_` from Start() until then.
//  (2) What has arrived, descriptors included, is kept until Close(), also when
//      the connection has ended.
//  (3) Once the peer's process has ended, nothing is read before tasks that
//      were posted have run, if the handler has left some of what came: so the
//      next handler can follow, and the buffer need not hold all that the
//      kernel had.
class LocalChannel final : public Channel, private EventLoop::Handler {
 public:
  // `buffer_bytes_max`: room for the largest frame and what goes before it.
  LocalChannel(Environment& environment, EventLoop& loop, Fd fd,
               const PeerCredentials& peer, size_t buffer_bytes_max,
               bool passes_descriptors = false);
  ~LocalChannel() override;

  void Start(Channel::Handler& handler) override;
  absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces) override;
  void Close() override;
  std::string peer_identity() const override { return peer_identity_; }
  const std::string& peer_description() const override {
    return peer_description_;
  }
  bool passes_descriptors() const override { return passes_descriptors_; }
  bool is_same_user() const override { return is_same_user_; }
  bool may_observe() const override { return may_observe_; }
  absl::StatusOr<size_t> SendDescriptors(
      std::array<int, 2> descriptors, absl::Span<const iovec> pieces) override;
  std::optional<std::array<Fd, 2>> TakeDescriptors() override;
  void SetSpinning(bool spins) override;
  bool ReadNow() override { return Poll(); }

 private:
  static constexpr size_t kBufferBytes = 128 * 1024;
  // Copying this much costs less than what the kernel does for each piece.
  static constexpr size_t kTogetherBytesMax = 2 * 1024;
  // Pairs of descriptors that were passed and nobody has asked for yet: no link
  // needs more.
  static constexpr size_t kPairsMax = 16;

  // Hears of the end of the peer's process.
  class ProcessWatch final : public EventLoop::Handler {
   public:
    explicit ProcessWatch(LocalChannel& channel) : channel_(channel) {}
    void OnReady(uint32_t) override { channel_.OnProcessEnded(); }

   private:
    LocalChannel& channel_;
  };

  // EventLoop::Handler:
  void OnReady(uint32_t events) override;
  bool Poll() override;

  // Reads once. Returns whether bytes came or the connection ended.
  bool ReadSome();
  int64_t Receive(void* bytes, size_t bytes_max);
  void KeepDescriptors(const msghdr& message);
  // `bytes`: how many all its pieces have.
  absl::StatusOr<size_t> SendMessage(const msghdr& message, size_t bytes);
  void WatchProcess();
  void UnwatchProcess();
  void OnProcessEnded();
  void ReadLastSoon(int reads_max);
  void ReadLast(int reads_max);
  void Offer();
  void OfferOwed();
  void End(const absl::Status& status);
  void Disconnect();
  bool MakeRoom();
  uint32_t WantedEvents() const;
  void Rewatch();  // Any thread.

  Environment& environment_;
  EventLoop& loop_;
  Fd fd_;
  const std::string peer_identity_;
  const std::string peer_description_;
  const size_t buffer_bytes_max_;
  const bool passes_descriptors_;
  const bool is_same_user_;
  const bool may_observe_;
  const int64_t peer_pid_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  // On the loop.
  Channel::Handler* handler_ = nullptr;
  bool watched_ = false;
  EventLoop::Spinning spinning_ = EventLoop::Spinning::kAlone;
  Fd process_;  // Readable once the peer's process has ended.
  ProcessWatch process_watch_{*this};
  std::deque<std::array<Fd, 2>> pairs_;
  std::vector<std::byte> buffer_;
  size_t begin_ = 0;  // What was offered and not used starts here.
  size_t end_ = 0;
  bool owes_offer_ = false;            // To a handler that Start() has set.
  std::optional<absl::Status> ended_;  // Why, until Close().

  Mutex rewatch_mutex_;  // From looking at the next to telling the kernel.
  std::atomic<bool> want_writable_{false};
  std::atomic<bool> closed_{false};
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LOCAL_SOCKET_LOCAL_CHANNEL_H_
