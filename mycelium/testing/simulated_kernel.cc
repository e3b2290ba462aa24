#include "mycelium/testing/simulated_kernel.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "mycelium/base/sys.h"

namespace mycelium {
namespace {

constexpr size_t kBacklogMax = 1024;

}  // namespace

TimeNs SimulatedKernel::NextChange() {
  while (!changes_.empty() && changes_.top() <= now_) changes_.pop();
  return changes_.empty() ? kNever : changes_.top();
}

TimeNs SimulatedKernel::DueTime(int place, TimeNs not_before) {
  int64_t delay = static_cast<int64_t>(
      random_.Below(static_cast<uint64_t>(weather_.delay_max_ns) + 1));
  if (Chance(weather_.long_delay_percent)) {
    delay += static_cast<int64_t>(
        random_.Below(static_cast<uint64_t>(weather_.long_delay_max_ns) + 1));
    trace_.Note(now_, Happening::kDelay, place, static_cast<uint64_t>(delay));
  }
  const TimeNs due = std::max(not_before, now_ + delay);
  Schedule(due);
  return due;
}

// ---------------------------------------------------------------------------
// Faults

int SimulatedKernel::Cut(int place, int other) {
  int cut = 0;
  for (const auto& known : connections_) {
    const std::shared_ptr<SimulatedConnection> connection = known.lock();
    if (connection == nullptr) continue;
    if (std::minmax(connection->place[0], connection->place[1]) !=
        std::minmax(place, other)) {
      continue;
    }
    for (int side : {0, 1}) {
      SimulatedPipe& pipe = connection->to[side];
      Forget(pipe, random_.Below(pipe.bytes + 1));
      connection->deaf[side] = true;
      EndFor(*connection, side);
      connection->reset[side] = Chance(50);
    }
    ++cut;
  }
  if (cut > 0) {
    trace_.Note(now_, Happening::kCut, place, static_cast<uint64_t>(other));
  }
  return cut;
}

void SimulatedKernel::SetPartitioned(int place, int other, bool partitioned) {
  if (partitioned) {
    partitions_.insert(std::minmax(place, other));
  } else {
    partitions_.erase(std::minmax(place, other));
  }
  trace_.Note(now_, partitioned ? Happening::kPartition : Happening::kHeal,
              place, static_cast<uint64_t>(other));
}

std::vector<int> SimulatedKernel::NeighboursOf(int place) const {
  std::set<int> neighbours;
  for (const auto& known : connections_) {
    const std::shared_ptr<SimulatedConnection> connection = known.lock();
    if (connection == nullptr) continue;
    if (connection->place[0] == place) neighbours.insert(connection->place[1]);
    if (connection->place[1] == place) neighbours.insert(connection->place[0]);
  }
  neighbours.erase(place);
  return {neighbours.begin(), neighbours.end()};
}

void SimulatedKernel::Forget(SimulatedPipe& pipe, size_t keep_bytes) {
  while (pipe.bytes > keep_bytes) {
    SimulatedPipe::Chunk& last = pipe.chunks.back();
    const size_t has = last.bytes.size() - last.taken;
    const size_t lost = std::min(has, pipe.bytes - keep_bytes);
    last.bytes.resize(last.bytes.size() - lost);
    pipe.bytes -= lost;
    if (last.bytes.size() == last.taken) pipe.chunks.pop_back();
  }
}

// ---------------------------------------------------------------------------
// Sockets

SimulatedKernel::SocketPtr SimulatedKernel::MakeSocket(int place) {
  auto socket = std::make_shared<SimulatedSocket>();
  socket->place = place;
  return socket;
}

int64_t SimulatedKernel::Bind(const SocketPtr& socket,
                              const std::string& path) {
  if (paths_.count(path) != 0) return -EADDRINUSE;
  socket->path = path;
  socket->inode = next_inode_++;
  paths_[path] = {socket->inode, socket};
  return 0;
}

int64_t SimulatedKernel::Connect(const SocketPtr& socket,
                                 const std::string& path, int64_t pid) {
  if (Chance(weather_.interrupt_percent)) {
    trace_.Note(now_, Happening::kInterrupt, socket->place);
    return -EINTR;
  }
  const auto refuse = [&](Happening why, int64_t error) {
    trace_.Note(now_, why, socket->place, static_cast<uint64_t>(-error));
    return error;
  };
  const auto entry = paths_.find(path);
  if (entry == paths_.end()) return refuse(Happening::kNobody, -ENOENT);
  const SocketPtr listener = entry->second.socket.lock();
  if (listener == nullptr || !listener->listens) {
    return refuse(Happening::kNobody, -ECONNREFUSED);
  }
  if (IsPartitioned(socket->place, listener->place) ||
      listener->backlog.size() >= kBacklogMax) {
    return refuse(Happening::kNobody, -EAGAIN);
  }
  if (socket->place != listener->place && Chance(weather_.refuse_percent)) {
    return refuse(Happening::kRefuse, -EAGAIN);
  }
  auto connection = std::make_shared<SimulatedConnection>();
  connection->number = next_connection_++;
  connection->place[0] = socket->place;
  connection->place[1] = listener->place;
  connection->pid[0] = connection->pid[1] = pid;
  for (SimulatedPipe& pipe : connection->to) {
    pipe.capacity = weather_.socket_bytes;
  }
  connections_.erase(
      std::remove_if(connections_.begin(), connections_.end(),
                     [](const auto& known) { return known.expired(); }),
      connections_.end());
  connections_.push_back(connection);
  auto other = MakeSocket(listener->place);
  for (SimulatedSocket* end : {socket.get(), other.get()}) {
    end->kind = SimulatedFile::Kind::kStream;
    end->connection = connection;
  }
  socket->side = 0;
  other->side = 1;
  const TimeNs last =
      listener->backlog.empty() ? now_ : listener->backlog.back().due;
  listener->backlog.push_back(
      {std::move(other), DueTime(listener->place, last)});
  trace_.Note(now_, Happening::kConnect, socket->place, connection->number,
              static_cast<uint64_t>(listener->place));
  return 0;
}

int64_t SimulatedKernel::Accept(SimulatedSocket& listener, SocketPtr* accepted,
                                int64_t pid) {
  if (listener.backlog.empty() || listener.backlog.front().due > now_) {
    return -EAGAIN;
  }
  *accepted = std::move(listener.backlog.front().socket);
  listener.backlog.pop_front();
  (*accepted)->connection->pid[1] = pid;
  trace_.Note(now_, Happening::kAccept, listener.place,
              (*accepted)->connection->number);
  return 0;
}

int64_t SimulatedKernel::Send(SimulatedSocket& socket, const msghdr& message) {
  if (socket.connection == nullptr) return -ENOTCONN;
  SimulatedConnection& connection = *socket.connection;
  const int peer = 1 - socket.side;
  if (connection.shut[socket.side] || SeesEnd(connection, socket.side)) {
    return -EPIPE;
  }
  if (Chance(weather_.interrupt_percent)) {
    trace_.Note(now_, Happening::kInterrupt, socket.place);
    return -EINTR;
  }
  SimulatedPipe& pipe = connection.to[peer];
  size_t room = pipe.capacity - std::min(pipe.capacity, pipe.bytes);
  if (room == 0) {
    trace_.Note(now_, Happening::kWouldBlock, socket.place, connection.number);
    return -EAGAIN;
  }
  const bool is_cut_short = room > 1 && Chance(weather_.short_write_percent);
  const size_t had_room = room;
  if (is_cut_short) room = 1 + random_.Below(room);
  SimulatedPipe::Chunk chunk;
  size_t given = 0;
  for (size_t i = 0; i < message.msg_iovlen; ++i) {
    const iovec& piece = message.msg_iov[i];
    given += piece.iov_len;
    chunk.bytes.append(static_cast<const char*>(piece.iov_base),
                       std::min(piece.iov_len, room - chunk.bytes.size()));
  }
  const size_t taken = chunk.bytes.size();
  trace_.Note(now_, Happening::kSend, socket.place, connection.number, taken);
  if (is_cut_short && taken < std::min(given, had_room)) {
    trace_.Note(now_, Happening::kShortWrite, socket.place, given);
  }
  if (taken == 0 || connection.deaf[peer]) return static_cast<int64_t>(taken);
  const TimeNs last = pipe.chunks.empty() ? now_ : pipe.chunks.back().due;
  chunk.due = DueTime(socket.place, last);
  pipe.bytes += taken;
  pipe.chunks.push_back(std::move(chunk));
  return static_cast<int64_t>(taken);
}

size_t SimulatedKernel::ReadableBytes(const SimulatedConnection& connection,
                                      int side) const {
  size_t bytes = 0;
  for (const SimulatedPipe::Chunk& chunk : connection.to[side].chunks) {
    if (chunk.due > now_) break;
    bytes += chunk.bytes.size() - chunk.taken;
  }
  if (bytes > 0 && IsPartitioned(connection.place[0], connection.place[1])) {
    return 0;
  }
  return bytes;
}

bool SimulatedKernel::SeesEnd(const SimulatedConnection& connection,
                              int side) const {
  return connection.over[side] <= now_ &&
         !IsPartitioned(connection.place[0], connection.place[1]);
}

int64_t SimulatedKernel::Receive(SimulatedSocket& socket, void* bytes,
                                 size_t bytes_max) {
  if (socket.connection == nullptr) return -ENOTCONN;
  SimulatedConnection& connection = *socket.connection;
  const int side = socket.side;
  const size_t readable = ReadableBytes(connection, side);
  if (readable == 0) {
    if (!SeesEnd(connection, side) && !connection.shut[side]) return -EAGAIN;
    trace_.Note(now_, Happening::kEnd, socket.place, connection.number);
    return std::exchange(connection.reset[side], false) ? -ECONNRESET : 0;
  }
  if (Chance(weather_.interrupt_percent)) {
    trace_.Note(now_, Happening::kInterrupt, socket.place);
    return -EINTR;
  }
  const size_t most = std::min(bytes_max, readable);
  size_t wanted = most;
  if (wanted > 1 && Chance(weather_.short_read_percent)) {
    wanted = 1 + random_.Below(wanted);
  }
  trace_.Note(now_, Happening::kReceive, socket.place, connection.number,
              wanted);
  if (wanted < most) {
    trace_.Note(now_, Happening::kShortRead, socket.place, readable);
  }
  SimulatedPipe& pipe = connection.to[side];
  size_t done = 0;
  while (done < wanted) {
    SimulatedPipe::Chunk& first = pipe.chunks.front();
    const size_t part =
        std::min(first.bytes.size() - first.taken, wanted - done);
    std::memcpy(static_cast<char*>(bytes) + done,
                first.bytes.data() + first.taken, part);
    first.taken += part;
    done += part;
    pipe.bytes -= part;
    if (first.taken == first.bytes.size()) pipe.chunks.pop_front();
  }
  return static_cast<int64_t>(done);
}

void SimulatedKernel::EndFor(SimulatedConnection& connection, int side) {
  if (connection.over[side] != kNever) return;
  const SimulatedPipe& pipe = connection.to[side];
  const TimeNs last = pipe.chunks.empty() ? now_ : pipe.chunks.back().due;
  connection.over[side] = DueTime(connection.place[side], last);
}

void SimulatedKernel::Shutdown(SimulatedSocket& socket) {
  if (socket.connection == nullptr) return;
  socket.connection->shut[socket.side] = true;
  socket.connection->deaf[socket.side] = true;
  EndFor(*socket.connection, 1 - socket.side);
}

void SimulatedKernel::Release(const FilePtr& file) {
  UnlockDirectory(file.get());
  if (file->kind != SimulatedFile::Kind::kListener &&
      file->kind != SimulatedFile::Kind::kStream) {
    return;
  }
  auto& socket = static_cast<SimulatedSocket&>(*file);
  socket.listens = false;
  for (SimulatedSocket::Waiting& waiting : socket.backlog) {
    Release(waiting.socket);
  }
  socket.backlog.clear();
  if (socket.connection == nullptr) return;
  SimulatedPipe& unread = socket.connection->to[socket.side];
  if (unread.bytes > 0) socket.connection->reset[1 - socket.side] = true;
  Forget(unread, 0);
  Shutdown(socket);
}

// ---------------------------------------------------------------------------
// Readiness

uint32_t SimulatedKernel::EventsOf(const SimulatedFile& file) const {
  switch (file.kind) {
    case SimulatedFile::Kind::kListener: {
      const auto& backlog = static_cast<const SimulatedSocket&>(file).backlog;
      return !backlog.empty() && backlog.front().due <= now_ ? EPOLLIN : 0u;
    }
    case SimulatedFile::Kind::kStream: {
      const auto& socket = static_cast<const SimulatedSocket&>(file);
      const SimulatedConnection& connection = *socket.connection;
      if (connection.shut[socket.side] || SeesEnd(connection, socket.side)) {
        return EPOLLIN | EPOLLOUT | EPOLLHUP;
      }
      const SimulatedPipe& out = connection.to[1 - socket.side];
      const bool has_room = out.bytes * 4 <= out.capacity * 3;
      return (ReadableBytes(connection, socket.side) > 0 ? EPOLLIN : 0u) |
             (has_room ? EPOLLOUT : 0u);
    }
    case SimulatedFile::Kind::kEpoll:
      return AnyReady(static_cast<const SimulatedEpoll&>(file)) ? EPOLLIN : 0u;
    case SimulatedFile::Kind::kEvent:
      return static_cast<const SimulatedEvent&>(file).count > 0 ? EPOLLIN : 0u;
    case SimulatedFile::Kind::kTimer:
      return static_cast<const SimulatedTimer&>(file).at <= now_ ? EPOLLIN : 0u;
    case SimulatedFile::Kind::kDirectory:
    case SimulatedFile::Kind::kRegular:
    case SimulatedFile::Kind::kSocket:
      break;
  }
  return 0;
}

bool SimulatedKernel::AnyReady(const SimulatedEpoll& epoll) const {
  for (const SimulatedEpoll::Interest& interest : epoll.interests) {
    const FilePtr file = interest.file.lock();
    if (file == nullptr) continue;
    if ((EventsOf(*file) & (interest.events | EPOLLHUP | EPOLLERR)) != 0) {
      return true;
    }
  }
  return false;
}

std::vector<std::pair<int, uint32_t>> SimulatedKernel::ReadyOf(
    const SimulatedEpoll& epoll) const {
  std::vector<std::pair<int, uint32_t>> ready;
  for (const SimulatedEpoll::Interest& interest : epoll.interests) {
    const FilePtr file = interest.file.lock();
    if (file == nullptr) continue;
    const uint32_t events =
        EventsOf(*file) & (interest.events | EPOLLHUP | EPOLLERR);
    if (events != 0) ready.emplace_back(interest.fd, events);
  }
  // The order is random: no caller may rely on one.
  for (size_t i = ready.size(); i > 1; --i) {
    std::swap(ready[i - 1], ready[random_.Below(i)]);
  }
  return ready;
}

void SimulatedKernel::SetTimer(SimulatedTimer& timer, int64_t after_ns) {
  timer.at = after_ns == 0 ? kNever : now_ + after_ns;
  if (timer.at != kNever) Schedule(timer.at);
}

// ---------------------------------------------------------------------------
// Paths

bool SimulatedKernel::LockDirectory(const FilePtr& directory,
                                    const std::string& path) {
  std::weak_ptr<SimulatedFile>& holder = locks_[path];
  const FilePtr held = holder.lock();
  if (held != nullptr && held != directory) return false;
  holder = directory;
  return true;
}

void SimulatedKernel::UnlockDirectory(const SimulatedFile* directory) {
  if (directory->kind != SimulatedFile::Kind::kDirectory) return;
  for (auto& [path, holder] : locks_) {
    if (holder.lock().get() == directory) holder.reset();
  }
}

uint64_t SimulatedKernel::InodeOf(const std::string& path) const {
  const auto entry = paths_.find(path);
  return entry == paths_.end() ? 0 : entry->second.inode;
}

int64_t SimulatedKernel::Unlink(const std::string& path) {
  return paths_.erase(path) != 0 ? 0 : -ENOENT;
}

}  // namespace mycelium
