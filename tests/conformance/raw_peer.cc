#include "tests/conformance/raw_peer.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace mycelium::test {
namespace {

constexpr int kLongMs = 10'000;

using Clock = std::chrono::steady_clock;

Clock::time_point After(int timeout_ms) {
  return Clock::now() + std::chrono::milliseconds(timeout_ms);
}

// Whether there is something to read, or the end of the stream, before the
// deadline.
bool IsReadable(int fd, Clock::time_point deadline) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  pollfd ready = {fd, POLLIN, 0};
  return poll(&ready, 1, std::max(static_cast<int>(left.count()), 0)) == 1;
}

template <typename T>
std::string AsBytes(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

std::string BytesOf(const RawFrame& frame) {
  const size_t true_bytes = sizeof(FrameHeader) + frame.payload.size();
  FrameHeader header = {};
  header.frame_bytes =
      frame.frame_bytes.value_or(static_cast<uint32_t>(true_bytes));
  header.flags = frame.flags;
  header.extension_bytes = frame.extension_bytes;
  header.lane_sequence = frame.sequence;
  header.digest_prefix = frame.digest_prefix;
  header.publisher_sequence = frame.sequence;
  header.publisher_id = frame.publisher;
  std::string bytes = AsBytes(header) + frame.payload;
  bytes.resize(AlignedFrameBytes(bytes.size()));
  return bytes;
}

std::string RecordBytes(RecordKind kind, absl::string_view body, uint32_t lane,
                        uint64_t position, std::optional<uint32_t> body_bytes) {
  RecordHeader header = {};
  header.magic = kRecordMagic;
  header.kind = static_cast<uint8_t>(kind);
  header.lane = lane;
  header.position = position;
  header.body_bytes = body_bytes.value_or(static_cast<uint32_t>(body.size()));
  return AsBytes(header) + std::string(body);
}

std::string ControlBytes(const v1::Control& control) {
  return RecordBytes(RecordKind::kControl, control.SerializeAsString());
}

v1::Hello HelloFrom(const std::string& node, uint64_t incarnation) {
  v1::Hello hello;
  hello.set_protocol_version(kProtocolVersion);
  hello.set_node(node);
  hello.set_incarnation(incarnation);
  hello.add_services()->set_name(node);
  hello.set_frame_bytes_max(2 << 20);
  return hello;
}

RawPeer::RawPeer(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address),
              sizeof address) != 0) {
    close(fd);
    return;
  }
  fd_ = fd;
}

void RawPeer::Close() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
  for (const int descriptor : TakeDescriptors()) close(descriptor);
}

bool RawPeer::Send(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool RawPeer::SendWithDescriptors(absl::string_view bytes,
                                  const std::vector<int>& descriptors) {
  iovec piece = {const_cast<char*>(bytes.data()), bytes.size()};
  std::vector<char> control(CMSG_SPACE(descriptors.size() * sizeof(int)));
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
  std::memcpy(CMSG_DATA(header), descriptors.data(),
              descriptors.size() * sizeof(int));
  return sendmsg(fd_, &message, MSG_NOSIGNAL) ==
         static_cast<ssize_t>(bytes.size());
}

bool RawPeer::SendAck(uint32_t lane, uint64_t received, uint64_t handled) {
  AckEntry ack = {};
  ack.lane = lane;
  ack.received = received;
  ack.handled = handled;
  return Send(RecordBytes(RecordKind::kAck, AsBytes(ack)));
}

v1::Control RawPeer::SayHello(const v1::Hello& hello) {
  v1::Control control;
  *control.mutable_hello() = hello;
  (void)SendControl(control);  // It may have said no and gone already.
  const std::optional<Record> answer = Read();
  return answer.has_value() ? answer->control : v1::Control();
}

RawPeer::Deadline RawPeer::SoonEnough() { return After(kLongMs); }

bool RawPeer::Receive(Deadline deadline) {
  if (Clock::now() > deadline || !IsReadable(fd_, deadline)) return false;
  char bytes[4096];
  alignas(cmsghdr) char control[CMSG_SPACE(16 * sizeof(int))];
  iovec piece = {bytes, sizeof bytes};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(fd_, &message, MSG_CMSG_CLOEXEC);
  if (got <= 0) return false;
  for (const cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, const_cast<cmsghdr*>(header))) {
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int descriptor;
      std::memcpy(&descriptor, CMSG_DATA(header) + i * sizeof descriptor,
                  sizeof descriptor);
      descriptors_.push_back(descriptor);
    }
  }
  arrived_.append(bytes, static_cast<size_t>(got));
  return true;
}

std::optional<RawPeer::Record> RawPeer::ReadBefore(Deadline deadline) {
  Record record;
  while (arrived_.size() < sizeof record.header) {
    if (!Receive(deadline)) return std::nullopt;
  }
  std::memcpy(&record.header, arrived_.data(), sizeof record.header);
  const size_t bytes = sizeof record.header + record.header.body_bytes;
  while (arrived_.size() < bytes) {
    if (!Receive(deadline)) return std::nullopt;
  }
  record.body = arrived_.substr(sizeof record.header, record.header.body_bytes);
  arrived_.erase(0, bytes);
  if (record.header.kind == static_cast<uint8_t>(RecordKind::kControl)) {
    record.control.ParseFromString(record.body);
  }
  return record;
}

bool RawPeer::ClosedWithin(int timeout_ms) {
  const Deadline deadline = After(timeout_ms);
  // Takes what has arrived by then, but not for ever.
  const Deadline last = After(timeout_ms + kLongMs);
  while (Clock::now() < last && IsReadable(fd_, deadline)) {
    char bytes[4096];
    if (recv(fd_, bytes, sizeof bytes, 0) <= 0) return true;
  }
  return false;
}

bool RawPeer::Closed() { return ClosedWithin(kLongMs); }

}  // namespace mycelium::test
