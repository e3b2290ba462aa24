#include "mycelium/transport/local_socket/local_channel.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/planted_bug.h"

namespace mycelium {
namespace {

// How often a channel reads what is left when the peer's process has ended:
// more often than there can be pieces in a socket.
constexpr int kLastReadsMax = 4096;

size_t BytesOf(absl::Span<const iovec> pieces) {
  size_t bytes = 0;
  for (const iovec& piece : pieces) bytes += piece.iov_len;
  return bytes;
}

}  // namespace

LocalChannel::LocalChannel(Environment& environment, EventLoop& loop, Fd fd,
                           const PeerCredentials& peer, size_t buffer_bytes_max,
                           bool passes_descriptors)
    : environment_(environment),
      loop_(loop),
      fd_(std::move(fd)),
      peer_identity_(absl::StrCat("uid ", peer.uid)),
      peer_description_(absl::StrCat("pid ", peer.pid, ", ", peer_identity_)),
      buffer_bytes_max_(std::max(buffer_bytes_max, kBufferBytes)),
      passes_descriptors_(passes_descriptors),
      is_same_user_(peer.uid == environment.sys.GetEffectiveUid()),
      may_observe_(is_same_user_ || peer.uid == 0),
      peer_pid_(peer.pid) {}

LocalChannel::~LocalChannel() {
  *alive_ = false;
  Close();
}

void LocalChannel::Start(Channel::Handler& handler) {
  handler_ = &handler;
  const bool is_closed = closed_.load(std::memory_order_relaxed);
  if (is_closed && !ended_.has_value()) return;
  if (!is_closed && !watched_) {
    const absl::Status watched = loop_.Watch(fd_.get(), WantedEvents(), *this);
    if (!watched.ok()) {
      End(watched);
      return;
    }
    watched_ = true;
    loop_.SetSpinning(fd_.get(), spinning_);
    WatchProcess();
  }
  if (begin_ == end_ && !is_closed) return;
  owes_offer_ = true;
  loop_.Post([this, alive = alive_] {
    if (*alive) OfferOwed();
  });
}

void LocalChannel::WatchProcess() {
  // A process of another namespace has no number here. Ours needs no watch.
  if (process_.valid() || peer_pid_ <= 0 ||
      peer_pid_ == environment_.sys.GetPid()) {
    return;
  }
  const int64_t opened = environment_.sys.PidfdOpen(peer_pid_);
  if (opened < 0) return;  // The socket tells, as soon as no process holds it.
  process_ = Fd(environment_.sys, static_cast<int>(opened));
  if (!loop_.Watch(process_.get(), EPOLLIN, process_watch_).ok()) {
    process_.Close();
  }
}

void LocalChannel::UnwatchProcess() {
  if (!process_.valid()) return;
  loop_.Unwatch(process_.get());
  process_.Close();
}

void LocalChannel::OnProcessEnded() {
  UnwatchProcess();
  // What the process had sent comes first, which is no more than the kernel
  // keeps of a socket. A child that it had may go on sending.
  ReadLastSoon(kLastReadsMax);
}

void LocalChannel::ReadLastSoon(int reads_max) {
  loop_.Post([this, alive = alive_, reads_max] {
    if (*alive && !closed_.load(std::memory_order_relaxed)) ReadLast(reads_max);
  });
}

void LocalChannel::ReadLast(int reads_max) {
  while (reads_max-- > 0 && ReadSome()) {
    if (closed_.load(std::memory_order_relaxed)) return;
    if (begin_ != end_) return ReadLastSoon(reads_max);
  }
  if (closed_.load(std::memory_order_relaxed)) return;
  End(absl::UnavailableError(
      absl::StrCat("the peer (", peer_description_, ") has ended")));
}

void LocalChannel::SetSpinning(bool spins) {
  // A read sees the end and errors too. Only the kernel tells when the socket
  // is writable.
  spinning_ = spins ? EventLoop::Spinning::kAlone : EventLoop::Spinning::kNot;
  if (watched_) loop_.SetSpinning(fd_.get(), spinning_);
}

void LocalChannel::Rewatch() {
  // The last thread here has seen what the others changed.
  MutexLock lock(rewatch_mutex_);
  if (loop_.Rewatch(fd_.get(), WantedEvents()).ok()) return;
  // Nothing would tell that the socket is writable. The loop hears of its end
  // without being asked to. (Or the socket is being closed, and not watched any
  // more.)
  environment_.sys.Shutdown(fd_.get());
}

uint32_t LocalChannel::WantedEvents() const {
  return EPOLLIN |
         (want_writable_.load(std::memory_order_relaxed) ? EPOLLOUT : 0u);
}

absl::StatusOr<size_t> LocalChannel::Send(absl::Span<const iovec> pieces) {
  const size_t bytes = BytesOf(pieces);
  msghdr message = {};
  if (pieces.size() == 1 || bytes > kTogetherBytesMax) {
    message.msg_iov = const_cast<iovec*>(pieces.data());
    message.msg_iovlen = pieces.size();
    return SendMessage(message, bytes);
  }
  std::array<char, kTogetherBytesMax> together;
  char* end = together.data();
  for (const iovec& piece : pieces) {
    std::memcpy(end, piece.iov_base, piece.iov_len);
    end += piece.iov_len;
  }
  iovec whole = {together.data(), bytes};
  message.msg_iov = &whole;
  message.msg_iovlen = 1;
  return SendMessage(message, bytes);
}

absl::StatusOr<size_t> LocalChannel::SendDescriptors(
    std::array<int, 2> descriptors, absl::Span<const iovec> pieces) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof descriptors)] = {};
  msghdr message = {};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof descriptors);
  std::memcpy(CMSG_DATA(header), descriptors.data(), sizeof descriptors);
  return SendMessage(message, BytesOf(pieces));
}

std::optional<std::array<Fd, 2>> LocalChannel::TakeDescriptors() {
  if (pairs_.empty()) return std::nullopt;
  std::optional<std::array<Fd, 2>> pair = std::move(pairs_.front());
  pairs_.pop_front();
  return pair;
}

absl::StatusOr<size_t> LocalChannel::SendMessage(const msghdr& message,
                                                 size_t bytes) {
  int64_t sent;
  do {
    sent = environment_.sys.SendMsg(fd_.get(), message,
                                    MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent == -EINTR);
  if (sent < 0 && sent != -EAGAIN) {
    const absl::Status failed = ErrnoStatus(sent, "send");
    // The kernel sends all of the first piece or nothing, and may have room for
    // what goes without descriptors.
    if (message.msg_controllen > 0 && absl::IsResourceExhausted(failed)) {
      return failed;
    }
    // So that the loop hears of the failure, whatever the reason, behind what
    // the peer had sent.
    environment_.sys.Shutdown(fd_.get());
    return failed;
  }
  const size_t taken = sent < 0 ? 0 : static_cast<size_t>(sent);
  if (taken < bytes) {
    want_writable_.store(true, std::memory_order_relaxed);
    if (!MYCELIUM_PLANTED_BUG(4)) Rewatch();
  }
  return taken;
}

void LocalChannel::Close() {
  Disconnect();
  pairs_.clear();
  ended_.reset();
  owes_offer_ = false;
}

void LocalChannel::Disconnect() {
  if (closed_.exchange(true)) return;
  if (watched_) loop_.Unwatch(fd_.get());
  watched_ = false;
  UnwatchProcess();
  // The descriptor itself is closed with the object, since another thread may
  // be sending.
  environment_.sys.Shutdown(fd_.get());
}

void LocalChannel::OnReady(uint32_t events) {
  if ((events & EPOLLOUT) != 0) {
    want_writable_.store(false, std::memory_order_relaxed);
    Rewatch();
    handler_->OnWritable();
  }
  if (closed_.load(std::memory_order_relaxed)) return;
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) ReadSome();
}

bool LocalChannel::Poll() {
  if (closed_.load(std::memory_order_relaxed)) return false;
  // Only the kernel says when the rest of a large message may follow.
  if (want_writable_.load(std::memory_order_relaxed)) loop_.AskKernel();
  return ReadSome();
}

bool LocalChannel::MakeRoom() {
  if (begin_ == end_) begin_ = end_ = 0;
  if (buffer_.empty()) buffer_.resize(kBufferBytes);
  if (end_ < buffer_.size() && end_ - begin_ < buffer_.size() / 2) return true;
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ < buffer_.size()) return true;
  // One frame fills the buffer. Twice as much, since so much has arrived.
  if (buffer_.size() >= buffer_bytes_max_) return false;
  buffer_.resize(std::min(buffer_.size() * 2, buffer_bytes_max_));
  return true;
}

bool LocalChannel::ReadSome() {
  OfferOwed();
  if (closed_.load(std::memory_order_relaxed)) return true;
  if (!MakeRoom()) {
    End(absl::DataLossError(absl::StrCat("a record needs more than ",
                                         buffer_bytes_max_,
                                         " bytes; connection closed")));
    return true;
  }
  int64_t got;
  do {
    got = Receive(buffer_.data() + end_, buffer_.size() - end_);
  } while (got == -EINTR);
  if (got == -EAGAIN) return false;
  if (pairs_.size() > kPairsMax) {
    End(absl::DataLossError(absl::StrCat(
        "the peer (", peer_description_, ") has passed more than ", kPairsMax,
        " pairs of descriptors that nothing refers to; connection closed")));
    return true;
  }
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

int64_t LocalChannel::Receive(void* bytes, size_t bytes_max) {
  Sys& sys = environment_.sys;
  if (!passes_descriptors_) {
    return sys.Recv(fd_.get(), bytes, bytes_max, MSG_DONTWAIT);
  }
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
  iovec piece = {bytes, bytes_max};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const int64_t got =
      sys.RecvMsg(fd_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  const bool has_more =
      message.msg_controllen > 0 || (message.msg_flags & MSG_CTRUNC) != 0;
  if (got > 0 && has_more) KeepDescriptors(message);
  return got;
}

void LocalChannel::KeepDescriptors(const msghdr& message) {
  const size_t before = pairs_.size();
  for (const cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(const_cast<msghdr*>(&message),
                            const_cast<cmsghdr*>(header))) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    std::array<Fd, 2> pair;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
      Fd owned(environment_.sys, fd);
      if (i < pair.size()) pair[i] = std::move(owned);
    }
    // If this process is out of descriptors, the kernel brings fewer: none of
    // them counts then.
    if (count < pair.size()) pair = {};
    pairs_.push_back(std::move(pair));
  }
  // Or it brings none at all: those that come next are not those that were
  // expected here.
  if ((message.msg_flags & MSG_CTRUNC) != 0 && pairs_.size() == before) {
    pairs_.emplace_back();
  }
}

void LocalChannel::Offer() {
  const size_t used = handler_->OnBytes(
      absl::MakeConstSpan(buffer_.data() + begin_, end_ - begin_));
  begin_ += used;
}

void LocalChannel::OfferOwed() {
  if (!std::exchange(owes_offer_, false)) return;
  if (begin_ != end_) Offer();
  if (!ended_.has_value()) return;
  const absl::Status status = *ended_;  // The handler may call Close().
  handler_->OnClosed(status);
}

void LocalChannel::End(const absl::Status& status) {
  Disconnect();
  ended_ = status;
  handler_->OnClosed(status);
}

}  // namespace mycelium
