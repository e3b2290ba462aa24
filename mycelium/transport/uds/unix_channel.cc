#include "mycelium/transport/uds/unix_channel.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/planted_bug.h"

namespace mycelium {

UnixChannel::UnixChannel(Environment& environment, EventLoop& loop, Fd fd,
                         const PeerCredentials& peer, size_t buffer_bytes_max)
    : environment_(environment),
      loop_(loop),
      fd_(std::move(fd)),
      peer_description_(absl::StrCat("pid ", peer.pid, ", uid ", peer.uid)),
      buffer_bytes_max_(std::max(buffer_bytes_max, kBufferBytes)) {}

UnixChannel::~UnixChannel() {
  *alive_ = false;
  Close();
}

void UnixChannel::Start(Channel::Handler& handler) {
  handler_ = &handler;
  if (closed_.load(std::memory_order_relaxed)) return;
  if (!watched_) {
    const absl::Status watched = loop_.Watch(fd_.get(), WantedEvents(), *this);
    if (!watched.ok()) {
      End(watched);
      return;
    }
    watched_ = true;
  }
  if (begin_ != end_) PostOffer();
}

void UnixChannel::PostOffer() {
  loop_.Post([this, alive = alive_] {
    if (*alive && !closed_.load(std::memory_order_relaxed) && !paused_) Offer();
  });
}

void UnixChannel::Rewatch() {
  // Whoever is last has seen what the others changed.
  MutexLock lock(rewatch_mutex_);
  if (loop_.Rewatch(fd_.get(), WantedEvents()).ok()) return;
  // Nobody would come to say that it is writable. The loop hears of the end
  // without being asked to. (Or it is not watched any more: being closed.)
  environment_.sys.Shutdown(fd_.get());
}

uint32_t UnixChannel::WantedEvents() const {
  return (paused_ ? 0u : EPOLLIN) |
         (want_writable_.load(std::memory_order_relaxed) ? EPOLLOUT : 0u);
}

absl::StatusOr<size_t> UnixChannel::Send(absl::Span<const iovec> pieces) {
  msghdr message = {};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  int64_t sent;
  do {
    sent = environment_.sys.SendMsg(fd_.get(), message,
                                    MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent == -EINTR);
  if (sent < 0 && sent != -EAGAIN) {
    // So that the loop hears of it, whatever the reason, behind what the peer
    // had sent.
    environment_.sys.Shutdown(fd_.get());
    return ErrnoStatus(sent, "send");
  }
  const size_t taken = sent < 0 ? 0 : static_cast<size_t>(sent);
  size_t given = 0;
  for (const iovec& piece : pieces) given += piece.iov_len;
  if (taken < given) {
    want_writable_.store(true, std::memory_order_relaxed);
    if (!MYCELIUM_PLANTED_BUG(4)) Rewatch();
  }
  return taken;
}

void UnixChannel::SetPaused(bool paused) {
  if (paused_ == paused || closed_.load(std::memory_order_relaxed)) return;
  paused_ = paused;
  if (watched_) {
    Rewatch();
  } else {
    WatchAgain();
  }
  if (!paused && begin_ != end_) PostOffer();
}

void UnixChannel::WatchAgain() {
  const absl::Status watched = loop_.Watch(fd_.get(), WantedEvents(), *this);
  watched_ = watched.ok();
  if (watched_) return;
  // Later, since the handler is calling us.
  loop_.Post([this, watched, alive = alive_] {
    if (*alive && !closed_.load(std::memory_order_relaxed)) End(watched);
  });
}

void UnixChannel::Close() {
  if (closed_.exchange(true)) return;
  if (watched_) loop_.Unwatch(fd_.get());
  watched_ = false;
  // The descriptor itself is closed with the object, since another thread may
  // be sending.
  environment_.sys.Shutdown(fd_.get());
}

void UnixChannel::OnReady(uint32_t events) {
  if ((events & EPOLLOUT) != 0) {
    want_writable_.store(false, std::memory_order_relaxed);
    Rewatch();
    handler_->OnWritable();
  }
  if (closed_.load(std::memory_order_relaxed)) return;
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
  if (!paused_) {
    ReadSome();
  } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
    // Reported whatever is watched for; SetPaused(false) watches again.
    loop_.Unwatch(fd_.get());
    watched_ = false;
  }
}

bool UnixChannel::Poll() {
  if (paused_ || closed_.load(std::memory_order_relaxed)) return false;
  return ReadSome();
}

bool UnixChannel::MakeRoom() {
  if (begin_ == end_) begin_ = end_ = 0;
  if (buffer_.empty()) buffer_.resize(kBufferBytes);
  if (end_ < buffer_.size() && end_ - begin_ < buffer_.size() / 2) return true;
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ < buffer_.size()) return true;
  // One frame fills it. Twice as much, since so much has arrived.
  if (buffer_.size() >= buffer_bytes_max_) return false;
  buffer_.resize(std::min(buffer_.size() * 2, buffer_bytes_max_));
  return true;
}

bool UnixChannel::ReadSome() {
  if (!MakeRoom()) {
    End(absl::DataLossError(absl::StrCat("a record needs more than ",
                                         buffer_bytes_max_,
                                         " bytes; connection closed")));
    return true;
  }
  const int64_t got = environment_.sys.Recv(
      fd_.get(), buffer_.data() + end_, buffer_.size() - end_, MSG_DONTWAIT);
  if (got == -EAGAIN || got == -EINTR) return false;
  if (got < 0) {
    End(ErrnoStatus(got, "receive"));
    return true;
  }
  if (got == 0) {
    End(absl::UnavailableError(
        absl::StrCat("the peer (", peer_description_, ") closed")));
    return true;
  }
  end_ += static_cast<size_t>(got);
  Offer();
  return true;
}

void UnixChannel::Offer() {
  const size_t used = handler_->OnBytes(
      absl::MakeConstSpan(buffer_.data() + begin_, end_ - begin_));
  begin_ += used;
}

void UnixChannel::End(const absl::Status& status) {
  Close();
  handler_->OnClosed(status);
}

}  // namespace mycelium
