#include "mycelium/testing/simulated_sys.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace mycelium {
namespace {

using FilePtr = SimulatedKernel::FilePtr;

// As in a real process, 0 to 2 are taken.
constexpr int kFirstDescriptor = 3;
constexpr int64_t kEpochNs = 1'700'000'000'000'000'000;
constexpr char kHostName[] = "simulated";

std::string PathOf(const sockaddr* address) {
  return reinterpret_cast<const sockaddr_un*>(address)->sun_path;
}

}  // namespace

SimulatedSys::~SimulatedSys() { Crash(); }

void SimulatedSys::Crash() {
  crashed_ = true;
  for (FilePtr& file : files_) {
    if (file == nullptr) continue;
    kernel_.Release(file);
    file = nullptr;
  }
  files_.clear();
}

size_t SimulatedSys::open_files() const {
  return static_cast<size_t>(
      std::count_if(files_.begin(), files_.end(),
                    [](const FilePtr& file) { return file != nullptr; }));
}

int SimulatedSys::Add(FilePtr file) {
  // The lowest free number, so that numbers come again soon.
  size_t at = 0;
  while (at < files_.size() && files_[at] != nullptr) ++at;
  if (at == files_.size()) files_.emplace_back();
  files_[at] = std::move(file);
  return static_cast<int>(at) + kFirstDescriptor;
}

FilePtr SimulatedSys::Find(int fd) const {
  const size_t at = static_cast<size_t>(fd - kFirstDescriptor);
  return fd >= kFirstDescriptor && at < files_.size() ? files_[at] : nullptr;
}

// ---------------------------------------------------------------------------
// Files

int64_t SimulatedSys::Open(const char* path, int flags, mode_t) {
  if (crashed_) return -EIO;
  if ((flags & O_DIRECTORY) != 0) {
    return Add(std::make_shared<SimulatedDirectory>(path));
  }
  const auto content = regular_.find(path);
  if (content == regular_.end()) return -ENOENT;
  return Add(std::make_shared<SimulatedRegular>(content->second));
}

int64_t SimulatedSys::Close(int fd) {
  if (crashed_) return 0;
  const FilePtr file = Find(fd);
  if (file == nullptr) return -EBADF;
  files_[static_cast<size_t>(fd - kFirstDescriptor)] = nullptr;
  kernel_.Release(file);
  return 0;
}

int64_t SimulatedSys::Read(int fd, void* bytes, size_t bytes_max) {
  if (const auto event = FindAs<SimulatedEvent>(fd)) {
    if (event->count == 0) return -EAGAIN;
    std::memcpy(bytes, &event->count, sizeof event->count);
    event->count = 0;
    return sizeof event->count;
  }
  const auto file = FindAs<SimulatedRegular>(fd);
  if (file == nullptr) return -EBADF;
  const size_t part =
      std::min(bytes_max, file->content.size() - file->position);
  std::memcpy(bytes, file->content.data() + file->position, part);
  file->position += part;
  return static_cast<int64_t>(part);
}

int64_t SimulatedSys::Write(int fd, const void* bytes, size_t bytes_count) {
  const auto event = FindAs<SimulatedEvent>(fd);
  if (event == nullptr) return -EBADF;
  uint64_t more = 0;
  std::memcpy(&more, bytes, std::min(bytes_count, sizeof more));
  event->count += more;
  return sizeof more;
}

int64_t SimulatedSys::Fstat(int fd, struct stat* out) {
  const FilePtr file = Find(fd);
  if (file == nullptr) return -EBADF;
  *out = {};
  out->st_mode = S_IFDIR | 0700;
  if (file->kind == SimulatedFile::Kind::kRegular) {
    out->st_mode = S_IFREG | 0600;
    out->st_size = static_cast<off_t>(
        static_cast<const SimulatedRegular&>(*file).content.size());
  }
  return 0;
}

int64_t SimulatedSys::Lstat(const char* path, struct stat* out) {
  if (crashed_) return -EIO;
  *out = {};
  out->st_uid = kUid;
  out->st_ino = kernel_.InodeOf(path);
  out->st_mode = S_IFSOCK | 0600;
  if (out->st_ino != 0) return 0;
  const absl::string_view name(path);
  if (name.size() > 5 && name.substr(name.size() - 5) == ".sock") {
    return -ENOENT;
  }
  out->st_mode = S_IFDIR | 0700;
  return 0;
}

int64_t SimulatedSys::Unlink(const char* path) {
  return crashed_ ? -EIO : kernel_.Unlink(path);
}
int64_t SimulatedSys::Mkdir(const char*, mode_t) { return -EEXIST; }
int64_t SimulatedSys::Chmod(const char*, mode_t) { return 0; }

int64_t SimulatedSys::Flock(int fd, int operation) {
  const auto directory = FindAs<SimulatedDirectory>(fd);
  if (directory == nullptr) return -EBADF;
  if ((operation & LOCK_UN) != 0) {
    kernel_.UnlockDirectory(directory.get());
    return 0;
  }
  return kernel_.LockDirectory(directory, directory->path) ? 0 : -EWOULDBLOCK;
}

// ---------------------------------------------------------------------------
// Sockets

int64_t SimulatedSys::Socket(int, int) {
  return crashed_ ? -EIO : Add(kernel_.MakeSocket(place_));
}

int64_t SimulatedSys::Bind(int fd, const sockaddr* address, socklen_t) {
  const auto socket = FindAs<SimulatedSocket>(fd);
  return socket == nullptr ? -EBADF : kernel_.Bind(socket, PathOf(address));
}

int64_t SimulatedSys::Listen(int fd, int) {
  const auto socket = FindAs<SimulatedSocket>(fd);
  if (socket == nullptr) return -EBADF;
  socket->kind = SimulatedFile::Kind::kListener;
  socket->listens = true;
  return 0;
}

int64_t SimulatedSys::Accept(int fd) {
  const auto listener = FindAs<SimulatedSocket>(fd);
  if (listener == nullptr) return -EBADF;
  SimulatedKernel::SocketPtr accepted;
  const int64_t result = kernel_.Accept(*listener, &accepted, pid_);
  return result < 0 ? result : Add(accepted);
}

int64_t SimulatedSys::Connect(int fd, const sockaddr* address, socklen_t) {
  const auto socket = FindAs<SimulatedSocket>(fd);
  return socket == nullptr ? -EBADF
                           : kernel_.Connect(socket, PathOf(address), pid_);
}

int64_t SimulatedSys::Shutdown(int fd) {
  const auto socket = FindAs<SimulatedSocket>(fd);
  if (socket == nullptr) return -EBADF;
  kernel_.Shutdown(*socket);
  return 0;
}

int64_t SimulatedSys::SendMsg(int fd, const msghdr& message, int) {
  const auto socket = FindAs<SimulatedSocket>(fd);
  return socket == nullptr ? -EBADF : kernel_.Send(*socket, message);
}

int64_t SimulatedSys::Recv(int fd, void* bytes, size_t bytes_max, int) {
  const auto socket = FindAs<SimulatedSocket>(fd);
  return socket == nullptr ? -EBADF
                           : kernel_.Receive(*socket, bytes, bytes_max);
}

int64_t SimulatedSys::RecvMsg(int, msghdr*, int) { return -ENOSYS; }

int64_t SimulatedSys::GetSockOpt(int fd, int level, int name, void* value,
                                 socklen_t* bytes) {
  const auto socket = FindAs<SimulatedSocket>(fd);
  if (socket == nullptr) return -EBADF;
  if (level != SOL_SOCKET || name != SO_PEERCRED ||
      socket->connection == nullptr || *bytes < sizeof(ucred)) {
    return -EINVAL;
  }
  ucred peer = {};
  peer.pid = static_cast<pid_t>(socket->connection->pid[1 - socket->side]);
  peer.uid = kUid;
  std::memcpy(value, &peer, sizeof peer);
  *bytes = sizeof peer;
  return 0;
}

int64_t SimulatedSys::SetSockOpt(int, int, int, const void*, socklen_t) {
  return 0;
}

// ---------------------------------------------------------------------------
// Readiness

int64_t SimulatedSys::EpollCreate() {
  return crashed_ ? -EIO : Add(std::make_shared<SimulatedEpoll>());
}

int64_t SimulatedSys::EpollCtl(int epoll_fd, int operation, int fd,
                               epoll_event* event) {
  const auto epoll = FindAs<SimulatedEpoll>(epoll_fd);
  const FilePtr file = Find(fd);
  if (epoll == nullptr || file == nullptr) return -EBADF;
  auto& interests = epoll->interests;
  interests.erase(std::remove_if(interests.begin(), interests.end(),
                                 [](const auto& interest) {
                                   return interest.file.expired();
                                 }),
                  interests.end());
  const auto known = std::find_if(
      interests.begin(), interests.end(), [&](const auto& interest) {
        return interest.fd == fd && interest.file.lock() == file;
      });
  if (operation == EPOLL_CTL_ADD) {
    if (known != interests.end()) return -EEXIST;
    interests.push_back({fd, file, event->events});
    return 0;
  }
  if (known == interests.end()) return -ENOENT;
  if (operation == EPOLL_CTL_DEL) {
    interests.erase(known);
  } else {
    known->events = event->events;
  }
  return 0;
}

bool SimulatedSys::IsReady(int epoll_fd) const {
  const auto epoll = FindAs<SimulatedEpoll>(epoll_fd);
  return epoll != nullptr && kernel_.AnyReady(*epoll);
}

int64_t SimulatedSys::EpollWait(int epoll_fd, epoll_event* events,
                                int events_max, int64_t) {
  const auto epoll = FindAs<SimulatedEpoll>(epoll_fd);
  if (epoll == nullptr) return crashed_ ? 0 : -EBADF;
  int count = 0;
  for (const auto& [fd, ready] : kernel_.ReadyOf(*epoll)) {
    if (count == events_max) break;
    events[count].events = ready;
    events[count].data.fd = fd;
    ++count;
  }
  return count;
}

int64_t SimulatedSys::EventFd() {
  return crashed_ ? -EIO : Add(std::make_shared<SimulatedEvent>());
}
int64_t SimulatedSys::TimerFd() {
  return crashed_ ? -EIO : Add(std::make_shared<SimulatedTimer>());
}

int64_t SimulatedSys::TimerFdSet(int fd, int64_t after_ns) {
  const auto timer = FindAs<SimulatedTimer>(fd);
  if (timer == nullptr) return -EBADF;
  kernel_.SetTimer(*timer, after_ns);
  return 0;
}

int64_t SimulatedSys::FutexWait(const std::atomic<uint32_t>*, uint32_t,
                                int64_t) {
  return -ENOSYS;  // SimulatedProcess waits.
}
int64_t SimulatedSys::FutexWake(const std::atomic<uint32_t>*, int) { return 0; }

// ---------------------------------------------------------------------------
// The rest

void* SimulatedSys::Map(size_t bytes, int, int, int, int64_t* error) {
  constexpr size_t kPageBytes = 4096;
  void* const address = std::aligned_alloc(
      kPageBytes, (bytes + kPageBytes - 1) / kPageBytes * kPageBytes);
  if (address == nullptr) {
    *error = -ENOMEM;
    return nullptr;
  }
  std::memset(address, 0, bytes);
  return address;
}

int64_t SimulatedSys::Unmap(void* address, size_t) {
  std::free(address);
  return 0;
}

int64_t SimulatedSys::HostName(char* bytes, size_t bytes_max) {
  std::strncpy(bytes, kHostName, bytes_max);
  return 0;
}

int64_t SimulatedSys::GetRandom(void* bytes, size_t bytes_count) {
  auto* const out = static_cast<unsigned char*>(bytes);
  for (size_t i = 0; i < bytes_count; ++i) {
    out[i] = static_cast<unsigned char>(random_.Below(256));
  }
  return static_cast<int64_t>(bytes_count);
}

int64_t SimulatedSys::RealtimeNs() { return kEpochNs + kernel_.now(); }

}  // namespace mycelium
