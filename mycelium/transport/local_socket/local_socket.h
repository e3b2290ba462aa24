#ifndef MYCELIUM_TRANSPORT_LOCAL_SOCKET_LOCAL_SOCKET_H_
#define MYCELIUM_TRANSPORT_LOCAL_SOCKET_LOCAL_SOCKET_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/fd.h"

namespace mycelium {

// Unix sockets as the transports of one host need them. All calls return at
// once, with two exceptions that wait for others which start or stop listening
// in the same directory: ListenLocal() up to two seconds, the end of a
// LocalListener up to a fifth of a second.

// What fits in a socket address beside the terminating NUL.
inline constexpr size_t kLocalPathBytesMax = 107;

// A socket that listens at a path. The path goes away with it, unless somebody
// keeps the directory locked: then the next one to listen there replaces it.
class LocalListener final {
 public:
  LocalListener(LocalListener&&) = default;
  LocalListener& operator=(LocalListener&&) = delete;
  ~LocalListener();

  const std::string& path() const { return path_; }
  int fd() const { return fd_.get(); }

 private:
  friend absl::StatusOr<LocalListener> ListenLocal(Environment& environment,
                                                   const std::string& path,
                                                   mode_t mode);
  LocalListener(Environment& environment, Fd fd, std::string path,
                uint64_t inode)
      : environment_(environment),
        fd_(std::move(fd)),
        path_(std::move(path)),
        inode_(inode) {}

  Environment& environment_;
  Fd fd_;
  std::string path_;
  uint64_t inode_;  // Of the path, so that no other process's is removed.
};

// Listens at `path`. A socket that a dead process left there is replaced. A
// socket that somebody listens on never is, nor is anything that is not a
// socket. If two processes start at once, one wins: they take turns by a lock
// on the directory.
//   ALREADY_EXISTS     somebody listens there, or it is no socket
//   INVALID_ARGUMENT   the path is empty or too long
// `mode`: permissions of the path; users who may write to it may connect.
absl::StatusOr<LocalListener> ListenLocal(Environment& environment,
                                          const std::string& path,
                                          mode_t mode = 0600);

// Takes the next waiting connection; an invalid Fd if there is none.
// RESOURCE_EXHAUSTED: out of descriptors or memory; the connection waits on.
absl::StatusOr<Fd> AcceptLocal(Environment& environment,
                               const LocalListener& listener);

// Connects. UNAVAILABLE: nobody listens, or too many are waiting. `result`, if
// it is not null: what connect(2) returned.
absl::StatusOr<Fd> DialLocal(Environment& environment, const std::string& path,
                             int64_t* result = nullptr);

// The process at the other end, as the kernel says.
struct PeerCredentials {
  int64_t pid = 0;
  int64_t uid = -1;
};
absl::StatusOr<PeerCredentials> PeerOf(Environment& environment, int fd);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LOCAL_SOCKET_LOCAL_SOCKET_H_
