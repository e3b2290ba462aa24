#ifndef MYCELIUM_TESTING_SIMULATED_SOCKET_H_
#define MYCELIUM_TESTING_SIMULATED_SOCKET_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mycelium/base/clock.h"

namespace mycelium {

// The kinds of file that a descriptor of a simulated process can stand for.
// Plain data: SimulatedKernel does all the work.

struct SimulatedFile {
  enum class Kind {
    kDirectory,
    kRegular,
    kSocket,  // Neither listens nor is connected yet.
    kListener,
    kStream,
    kEpoll,
    kEvent,
    kTimer,
  };
  explicit SimulatedFile(Kind what) : kind(what) {}
  virtual ~SimulatedFile() = default;

  Kind kind;
};

struct SimulatedDirectory final : SimulatedFile {
  explicit SimulatedDirectory(std::string where)
      : SimulatedFile(Kind::kDirectory), path(std::move(where)) {}
  std::string path;
};

struct SimulatedRegular final : SimulatedFile {
  explicit SimulatedRegular(std::string text)
      : SimulatedFile(Kind::kRegular), content(std::move(text)) {}
  std::string content;
  size_t position = 0;
};

// Bytes on their way to one end of a connection.
struct SimulatedPipe {
  struct Chunk {
    std::string bytes;
    size_t taken = 0;
    TimeNs due = 0;  // Not readable before.
  };
  std::deque<Chunk> chunks;
  size_t bytes = 0;  // In all chunks.
  size_t capacity = 0;
};

struct SimulatedConnection {
  uint64_t number = 0;
  int place[2] = {-1, -1};
  int64_t pid[2] = {0, 0};
  SimulatedPipe to[2];  // Indexed by the end that reads.
  // When each end sees that the other end, or the connection, is gone.
  TimeNs over[2] = {kNever, kNever};
  bool reset[2] = {false, false};  // It sees an error, not an end.
  bool shut[2] = {false, false};   // By its own doing.
  bool deaf[2] = {false, false};   // What is sent to it vanishes.
};

// A socket, from its making to its end.
struct SimulatedSocket final : SimulatedFile {
  SimulatedSocket() : SimulatedFile(Kind::kSocket) {}

  int place = -1;
  // Listener:
  std::string path;
  uint64_t inode = 0;
  bool listens = false;
  struct Waiting {
    std::shared_ptr<SimulatedSocket> socket;
    TimeNs due = 0;
  };
  std::deque<Waiting> backlog;
  // Stream:
  std::shared_ptr<SimulatedConnection> connection;
  int side = 0;
};

struct SimulatedEpoll final : SimulatedFile {
  SimulatedEpoll() : SimulatedFile(Kind::kEpoll) {}
  struct Interest {
    int fd;
    std::weak_ptr<SimulatedFile> file;
    uint32_t events;
  };
  std::vector<Interest> interests;
};

struct SimulatedEvent final : SimulatedFile {
  SimulatedEvent() : SimulatedFile(Kind::kEvent) {}
  uint64_t count = 0;
};

struct SimulatedTimer final : SimulatedFile {
  SimulatedTimer() : SimulatedFile(Kind::kTimer) {}
  TimeNs at = kNever;
};

}  // namespace mycelium

#endif  // MYCELIUM_TESTING_SIMULATED_SOCKET_H_
