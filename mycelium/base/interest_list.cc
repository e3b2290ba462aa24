#include "mycelium/base/interest_list.h"

#include <cerrno>

namespace mycelium {

int64_t InterestList::Control(int operation, int fd, uint32_t events) {
  epoll_event event = {};
  event.events = events;
  event.data.fd = fd;
  return sys_.EpollCtl(epoll_.get(), operation, fd, &event);
}

absl::Status InterestList::Add(int fd, uint32_t events) {
  MutexLock lock(mutex_);
  const int64_t added = Control(EPOLL_CTL_ADD, fd, events);
  if (added < 0) return ErrnoStatus(added, "epoll_ctl add");
  Interest& interest = interests_[fd];
  if (interest.is_out) out_.fetch_sub(1, std::memory_order_relaxed);
  interest = {events, /*is_out=*/false};
  return absl::OkStatus();
}

absl::Status InterestList::Change(int fd, uint32_t events) {
  MutexLock lock(mutex_);
  const auto known = interests_.find(fd);
  if (known == interests_.end()) {
    return ErrnoStatus(-ENOENT, "epoll_ctl modify");
  }
  Interest& interest = known->second;
  if (!interest.is_out) {
    const int64_t changed = Control(EPOLL_CTL_MOD, fd, events);
    if (changed < 0) return ErrnoStatus(changed, "epoll_ctl modify");
    interest.events = events;
    return absl::OkStatus();
  }
  interest.events = events;
  if ((events & ~EPOLLIN) == 0) return absl::OkStatus();
  return PutBackLocked(fd, interest);
}

void InterestList::Remove(int fd) {
  MutexLock lock(mutex_);
  const auto known = interests_.find(fd);
  if (known == interests_.end()) return;
  if (known->second.is_out) {
    out_.fetch_sub(1, std::memory_order_relaxed);
  } else {
    sys_.EpollCtl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  }
  interests_.erase(known);
}

void InterestList::TakeOut(int fd) {
  MutexLock lock(mutex_);
  const auto known = interests_.find(fd);
  if (known == interests_.end() || pinned_) return;
  Interest& interest = known->second;
  if (interest.is_out || (interest.events & ~EPOLLIN) != 0) return;
  if (sys_.EpollCtl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr) < 0) return;
  interest.is_out = true;
  out_.fetch_add(1, std::memory_order_relaxed);
}

absl::Status InterestList::PutBackLocked(int fd, Interest& interest) {
  if (!interest.is_out) return absl::OkStatus();
  const int64_t added = Control(EPOLL_CTL_ADD, fd, interest.events);
  if (added < 0) return ErrnoStatus(added, "epoll_ctl add");
  interest.is_out = false;
  out_.fetch_sub(1, std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Status InterestList::PutAllBackLocked() {
  absl::Status status;
  for (auto& [fd, interest] : interests_) {
    status.Update(PutBackLocked(fd, interest));
  }
  return status;
}

absl::Status InterestList::PutBack(int fd) {
  MutexLock lock(mutex_);
  const auto known = interests_.find(fd);
  return known == interests_.end() ? absl::OkStatus()
                                   : PutBackLocked(fd, known->second);
}

absl::Status InterestList::PutBack() {
  if (!has_out()) return absl::OkStatus();
  MutexLock lock(mutex_);
  return PutAllBackLocked();
}

absl::Status InterestList::Pin() {
  MutexLock lock(mutex_);
  pinned_ = true;
  return PutAllBackLocked();
}

bool InterestList::IsOut(int fd) const {
  MutexLock lock(mutex_);
  const auto known = interests_.find(fd);
  return known != interests_.end() && known->second.is_out;
}

}  // namespace mycelium
