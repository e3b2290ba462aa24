#include "mycelium/transport/local_socket/local_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace mycelium {
namespace {

constexpr int kBacklog = 1024;
constexpr TimeNs kStartWaitNs = 2'000'000'000;
constexpr TimeNs kEndWaitNs = 200'000'000;
constexpr TimeNs kLockRetryNs = 1'000'000;

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address = {};
  if (path.empty()) {
    return absl::InvalidArgumentError("a socket path is empty");
  }
  if (path.size() > kLocalPathBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("socket path ", path, " has ", path.size(),
                     " bytes; at most ", kLocalPathBytesMax));
  }
  if (path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("a socket path contains a NUL");
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Holds the lock that orders processes which start or stop listening in one
// directory. A process that dies drops it. Otherwise it is dropped explicitly:
// closing the descriptor would leave it to a forked child that got a copy.
class DirectoryLock final {
 public:
  // Waits for the lock until `deadline`, or looks once.
  static absl::StatusOr<DirectoryLock> Take(Environment& environment,
                                            const std::string& directory,
                                            TimeNs deadline);

  DirectoryLock(DirectoryLock&&) = default;
  DirectoryLock& operator=(DirectoryLock&&) = delete;
  ~DirectoryLock() {
    if (fd_.valid()) (void)environment_.sys.Flock(fd_.get(), LOCK_UN);
  }

 private:
  DirectoryLock(Environment& environment, Fd fd)
      : environment_(environment), fd_(std::move(fd)) {}

  Environment& environment_;
  Fd fd_;
};

absl::StatusOr<DirectoryLock> DirectoryLock::Take(Environment& environment,
                                                  const std::string& directory,
                                                  TimeNs deadline) {
  int64_t opened;
  do {
    opened = environment.sys.Open(directory.c_str(), O_RDONLY | O_DIRECTORY, 0);
  } while (opened == -EINTR);
  if (opened < 0) {
    return ErrnoStatus(opened, absl::StrCat("open directory ", directory));
  }
  Fd fd(environment.sys, static_cast<int>(opened));
  std::atomic<uint32_t> never{0};
  while (true) {
    const int64_t locked = environment.sys.Flock(fd.get(), LOCK_EX | LOCK_NB);
    if (locked >= 0) return DirectoryLock(environment, std::move(fd));
    const TimeNs now = environment.clock.NowNs();
    if ((locked != -EWOULDBLOCK && locked != -EINTR) || now >= deadline) {
      return ErrnoStatus(locked, absl::StrCat("lock directory ", directory));
    }
    environment.waiter.WaitWord(never, 0, now + kLockRetryNs);
  }
}

absl::StatusOr<Fd> MakeSocket(Environment& environment) {
  const int64_t made = environment.sys.Socket(AF_UNIX, SOCK_STREAM);
  if (made < 0) return ErrnoStatus(made, "socket");
  return Fd(environment.sys, static_cast<int>(made));
}

int64_t ConnectTo(Environment& environment, const Fd& fd,
                  const sockaddr_un& address) {
  int64_t connected;
  do {
    connected = environment.sys.Connect(
        fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  } while (connected == -EINTR);
  return connected;
}

std::string WhoListens(Environment& environment,
                       const absl::StatusOr<PeerCredentials>& listening) {
  // 0: the process is in another container.
  if (!listening.ok() || listening->pid == 0) {
    return "another process listens there";
  }
  if (listening->pid == environment.sys.GetPid()) {
    return "this process listens there already";
  }
  return absl::StrCat("another process, with pid ", listening->pid,
                      ", listens there");
}

// Removes a socket that nobody listens on. REQUIRES: the directory is locked.
absl::Status RemoveStale(Environment& environment, const std::string& path,
                         const sockaddr_un& address) {
  struct stat found;
  const int64_t looked = environment.sys.Lstat(path.c_str(), &found);
  if (looked == -ENOENT) return absl::OkStatus();
  if (looked < 0) return ErrnoStatus(looked, absl::StrCat("look at ", path));
  if (!S_ISSOCK(found.st_mode)) {
    return absl::AlreadyExistsError(absl::StrCat(
        "listen at ", path, ": there is a file that is no socket"));
  }
  absl::StatusOr<Fd> probe = MakeSocket(environment);
  if (!probe.ok()) return probe.status();
  const int64_t connected = ConnectTo(environment, *probe, address);
  if (connected != -ECONNREFUSED) {
    // Connected, or its queue is full, or it is somebody else's: it lives.
    const absl::StatusOr<PeerCredentials> listening =
        connected < 0 ? absl::UnknownError("not connected")
                      : PeerOf(environment, probe->get());
    return absl::AlreadyExistsError(absl::StrCat(
        "listen at ", path, ": ", WhoListens(environment, listening)));
  }
  const int64_t removed = environment.sys.Unlink(path.c_str());
  if (removed < 0 && removed != -ENOENT) {
    return ErrnoStatus(removed, absl::StrCat("remove stale socket ", path));
  }
  return absl::OkStatus();
}

}  // namespace

LocalListener::~LocalListener() {
  if (!fd_.valid()) return;
  // Without the lock we leave the path: the next process to start there
  // replaces it. A process that has the lock is soon done, or keeps it for no
  // good, and the loop waits here.
  const auto lock =
      DirectoryLock::Take(environment_, DirectoryOf(path_),
                          environment_.clock.NowNs() + kEndWaitNs);
  if (!lock.ok()) return;
  struct stat found;
  if (environment_.sys.Lstat(path_.c_str(), &found) >= 0 &&
      found.st_ino == inode_) {
    environment_.sys.Unlink(path_.c_str());
  }
}

absl::StatusOr<LocalListener> ListenLocal(Environment& environment,
                                          const std::string& path,
                                          mode_t mode) {
  absl::StatusOr<sockaddr_un> address = AddressOf(path);
  if (!address.ok()) return address.status();
  const auto lock = DirectoryLock::Take(
      environment, DirectoryOf(path), environment.clock.NowNs() + kStartWaitNs);
  if (!lock.ok()) return lock.status();
  if (absl::Status removed = RemoveStale(environment, path, *address);
      !removed.ok()) {
    return removed;
  }
  absl::StatusOr<Fd> fd = MakeSocket(environment);
  if (!fd.ok()) return fd.status();
  Sys& sys = environment.sys;
  const int64_t bound = sys.Bind(
      fd->get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address);
  if (bound < 0) return ErrnoStatus(bound, absl::StrCat("bind ", path));
  const int64_t allowed = sys.Chmod(path.c_str(), mode);
  if (allowed < 0) return ErrnoStatus(allowed, absl::StrCat("chmod ", path));
  struct stat made;
  int64_t result = sys.Lstat(path.c_str(), &made);
  if (result >= 0) result = sys.Listen(fd->get(), kBacklog);
  if (result < 0) {
    // Removed here and not by a listener, which would wait for the lock that we
    // hold.
    sys.Unlink(path.c_str());
    return ErrnoStatus(result, absl::StrCat("listen at ", path));
  }
  return LocalListener(environment, *std::move(fd), path, made.st_ino);
}

absl::StatusOr<Fd> AcceptLocal(Environment& environment,
                               const LocalListener& listener) {
  const int64_t accepted = environment.sys.Accept(listener.fd());
  if (accepted >= 0) return Fd(environment.sys, static_cast<int>(accepted));
  switch (-accepted) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED:
      return Fd();
    default:
      return ErrnoStatus(accepted, absl::StrCat("accept at ", listener.path()));
  }
}

absl::StatusOr<Fd> DialLocal(Environment& environment, const std::string& path,
                             int64_t* result) {
  absl::StatusOr<sockaddr_un> address = AddressOf(path);
  if (!address.ok()) return address.status();
  absl::StatusOr<Fd> fd = MakeSocket(environment);
  if (!fd.ok()) return fd.status();
  const int64_t connected = ConnectTo(environment, *fd, *address);
  if (result != nullptr) *result = connected;
  if (connected == -EAGAIN) {
    return absl::UnavailableError(
        absl::StrCat("connect ", path, ": too many connections are waiting"));
  }
  if (connected < 0) {
    return ErrnoStatus(connected, absl::StrCat("connect ", path));
  }
  return fd;
}

absl::StatusOr<PeerCredentials> PeerOf(Environment& environment, int fd) {
  ucred credentials = {};
  socklen_t bytes = sizeof credentials;
  const int64_t got = environment.sys.GetSockOpt(fd, SOL_SOCKET, SO_PEERCRED,
                                                 &credentials, &bytes);
  if (got < 0) return ErrnoStatus(got, "SO_PEERCRED");
  PeerCredentials peer;
  peer.pid = credentials.pid;
  peer.uid = credentials.uid;
  return peer;
}

}  // namespace mycelium
