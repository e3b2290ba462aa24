#ifndef MYCELIUM_TESTING_SIMULATED_KERNEL_H_
#define MYCELIUM_TESTING_SIMULATED_KERNEL_H_

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "mycelium/base/clock.h"
#include "mycelium/base/random.h"
#include "mycelium/testing/simulated_socket.h"
#include "mycelium/testing/trace.h"

namespace mycelium {

// Unix sockets, descriptors to wait on and a small file system in memory, with
// a time that moves only when it is told to. The processes of a simulated world
// share it. One seed decides everything.
//
// It replaces the kernel and not a Transport. So the product's own code
// listens, dials, frames, runs the event loop, and handles short writes and
// lost connections.
//
// The weather between two places can be bad: bytes are delayed, or written and
// read in part; connections are cut, with the loss of what was on its way; two
// places cannot reach each other for a while.
//
// Thread safety: none.
//
// Ownership: borrows the random numbers and the trace.
class SimulatedKernel final {
 public:
  // How well the sockets work. Percentages are shares of calls.
  struct Weather {
    int64_t delay_max_ns = 20'000;
    int64_t long_delay_max_ns = 5'000'000;
    uint32_t long_delay_percent = 0;
    uint32_t short_write_percent = 0;
    uint32_t short_read_percent = 0;
    uint32_t interrupt_percent = 0;
    uint32_t refuse_percent = 0;      // Connects that find too many waiting.
    size_t socket_bytes = 64 * 1024;  // Of a connection that is made now.
  };
  using FilePtr = std::shared_ptr<SimulatedFile>;
  using SocketPtr = std::shared_ptr<SimulatedSocket>;

  SimulatedKernel(Random& random, Trace& trace)
      : random_(random), trace_(trace) {}

  TimeNs now() const { return now_; }
  void AdvanceTo(TimeNs time) { now_ = time; }
  // The next time at which something becomes ready by itself; kNever if there
  // is none.
  TimeNs NextChange();

  Weather& weather() { return weather_; }
  Trace& trace() { return trace_; }

  // Faults between places. Cut() ends every connection between the two, and
  // returns how many it ended.
  int Cut(int place, int other);
  void SetPartitioned(int place, int other, bool partitioned);
  bool IsPartitioned(int place, int other) const {
    return place != other && partitions_.count(std::minmax(place, other)) != 0;
  }
  // The places that have a connection with `place`.
  std::vector<int> NeighboursOf(int place) const;

  // System calls, with the file in place of its number, and with the results of
  // Sys.
  SocketPtr MakeSocket(int place);
  int64_t Bind(const SocketPtr& socket, const std::string& path);
  int64_t Connect(const SocketPtr& socket, const std::string& path,
                  int64_t pid);
  int64_t Accept(SimulatedSocket& listener, SocketPtr* accepted, int64_t pid);
  int64_t Send(SimulatedSocket& socket, const msghdr& message);
  int64_t Receive(SimulatedSocket& socket, void* bytes, size_t bytes_max);
  void Shutdown(SimulatedSocket& socket);
  // Called when the last descriptor of the file is gone.
  void Release(const FilePtr& file);
  // The events that epoll would report for the file.
  uint32_t EventsOf(const SimulatedFile& file) const;
  std::vector<std::pair<int, uint32_t>> ReadyOf(
      const SimulatedEpoll& epoll) const;
  // Whether ReadyOf() would find anything.
  bool AnyReady(const SimulatedEpoll& epoll) const;
  void SetTimer(SimulatedTimer& timer, int64_t after_ns);

  bool LockDirectory(const FilePtr& directory, const std::string& path);
  void UnlockDirectory(const SimulatedFile* directory);
  uint64_t InodeOf(const std::string& path) const;  // 0: no such path.
  int64_t Unlink(const std::string& path);

  bool Chance(uint32_t percent) {
    return percent != 0 && random_.Below(100) < percent;
  }

 private:
  struct PathEntry {
    uint64_t inode;
    std::weak_ptr<SimulatedSocket> socket;
  };

  TimeNs DueTime(int place, TimeNs not_before);
  size_t ReadableBytes(const SimulatedConnection& connection, int side) const;
  bool SeesEnd(const SimulatedConnection& connection, int side) const;
  void EndFor(SimulatedConnection& connection, int side);
  void Schedule(TimeNs time) { changes_.push(time); }
  void Forget(SimulatedPipe& pipe, size_t keep_bytes);

  Random& random_;
  Trace& trace_;
  TimeNs now_ = 1'000'000'000;
  Weather weather_;
  std::set<std::pair<int, int>> partitions_;
  std::map<std::string, PathEntry> paths_;
  std::map<std::string, std::weak_ptr<SimulatedFile>> locks_;
  std::vector<std::weak_ptr<SimulatedConnection>> connections_;
  uint64_t next_inode_ = 1;
  uint64_t next_connection_ = 1;
  std::priority_queue<TimeNs, std::vector<TimeNs>, std::greater<TimeNs>>
      changes_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TESTING_SIMULATED_KERNEL_H_
