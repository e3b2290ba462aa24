#ifndef MYCELIUM_TRANSPORT_UDS_UNIX_CHANNEL_H_
#define MYCELIUM_TRANSPORT_UDS_UNIX_CHANNEL_H_

#include <atomic>
#include <cstddef>
#include <memory>
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
// Sending is one system call for everything that it is given. Receiving is one
// call for as much as the buffer holds; the buffer grows while a single frame
// fills it, up to `buffer_bytes_max`.
class UnixChannel final : public Channel, private EventLoop::Handler {
 public:
  // `buffer_bytes_max`: room for the largest frame and what goes before it.
  UnixChannel(Environment& environment, EventLoop& loop, Fd fd,
              const PeerCredentials& peer, size_t buffer_bytes_max);
  ~UnixChannel() override;

  void Start(Channel::Handler& handler) override;
  absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces) override;
  void SetPaused(bool paused) override;
  void Close() override;
  const std::string& peer_description() const override {
    return peer_description_;
  }

 private:
  static constexpr size_t kBufferBytes = 128 * 1024;

  // EventLoop::Handler:
  void OnReady(uint32_t events) override;
  bool Poll() override;

  // Reads once. Returns whether bytes came or the connection ended.
  bool ReadSome();
  void Offer();
  void End(const absl::Status& status);
  bool MakeRoom();
  uint32_t WantedEvents() const;
  void Rewatch();  // Any thread.
  void PostOffer();
  void WatchAgain();

  Environment& environment_;
  EventLoop& loop_;
  Fd fd_;
  const std::string peer_description_;
  const size_t buffer_bytes_max_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  // On the loop.
  Channel::Handler* handler_ = nullptr;
  bool watched_ = false;
  std::vector<std::byte> buffer_;
  size_t begin_ = 0;  // What was offered and not used starts here.
  size_t end_ = 0;

  Mutex rewatch_mutex_;  // From looking at the two to telling the kernel.
  std::atomic<bool> paused_{false};
  std::atomic<bool> want_writable_{false};
  std::atomic<bool> closed_{false};
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_UDS_UNIX_CHANNEL_H_
