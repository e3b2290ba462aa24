#include "mycelium/cli/node_query.h"

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/fd.h"
#include "mycelium/cli/process_state.h"
#include "mycelium/transport/local_socket/local_channel.h"
#include "mycelium/transport/local_socket/local_socket.h"
#include "mycelium/transport/outgoing.h"
#include "mycelium/transport/record_reader.h"
#include "proto/mycelium/v1/control.pb.h"

namespace mycelium {
namespace {

// How soon a node that has too many observers is asked again.
constexpr int64_t kAgainNs = 20'000'000;

// Another user may have put a socket there, and say anything.
bool MayBeAsked(int64_t uid, int64_t self) {
  return uid == self || uid == 0 || self == 0;
}

}  // namespace

NodeQuery::NodeQuery(Environment& environment, EventLoop& loop, SeenNode node)
    : environment_(environment), loop_(loop), node_(std::move(node)) {
  Dial();
}

NodeQuery::~NodeQuery() { loop_.Cancel(timer_); }

void NodeQuery::Dial() {
  struct stat found;
  const int64_t looked = environment_.sys.Lstat(node_.path.c_str(), &found);
  if (looked == -ENOENT || looked == -ENOTDIR) {
    return End(NodeState::kNotRunning,
               absl::StrCat("there is no socket at ", node_.path));
  }
  if (looked < 0) {
    return End(NodeState::kUnclear,
               std::string(ErrnoStatus(looked, node_.path).message()));
  }
  if (!S_ISSOCK(found.st_mode)) {
    return End(NodeState::kUnclear, absl::StrCat(node_.path, " is no socket"));
  }
  int64_t error = 0;
  absl::StatusOr<Fd> fd = DialLocal(environment_, node_.path, &error);
  if (!fd.ok()) return EndAfterFailedDial(error, fd.status());
  const absl::StatusOr<PeerCredentials> peer = PeerOf(environment_, fd->get());
  if (!peer.ok()) {
    return End(NodeState::kUnclear, std::string(peer.status().message()));
  }
  node_.pid = peer->pid;
  node_.uid = peer->uid;
  if (!MayBeAsked(peer->uid, environment_.sys.GetEffectiveUid())) {
    return End(NodeState::kRefused,
               absl::StrCat("uid ", peer->uid, " listens there, ",
                            "which is neither this user nor root"));
  }
  channel_ = std::make_unique<LocalChannel>(
      environment_, loop_, *std::move(fd), *peer, kControlBytesMax + 64 * 1024);
  v1::Control control;
  control.mutable_hello()->set_observe(true);
  outgoing_.clear();
  AppendControlRecord(control.SerializeAsString(), &outgoing_);
  channel_->Start(*this);
  SendMore();
}

void NodeQuery::EndAfterFailedDial(int64_t error, const absl::Status& status) {
  switch (-error) {
    case ECONNREFUSED:
      return End(NodeState::kStale,
                 absl::StrCat("nobody listens at ", node_.path,
                              ": its process died and left it there"));
    case EAGAIN:
      return End(NodeState::kSilent,
                 absl::StrCat("too many connections wait at ", node_.path,
                              ": its process takes none of them"));
    default:
      return End(NodeState::kUnclear, std::string(status.message()));
  }
}

void NodeQuery::SendMore() {
  while (!is_done_ && !outgoing_.empty()) {
    const iovec piece = {outgoing_.data(), outgoing_.size()};
    const absl::StatusOr<size_t> sent =
        channel_->Send(absl::MakeConstSpan(&piece, 1));
    // OnClosed() reports a connection that broke.
    if (!sent.ok() || *sent == 0) return;
    outgoing_.erase(0, *sent);
  }
}

size_t NodeQuery::OnBytes(absl::Span<const std::byte> bytes) {
  if (is_done_ || timer_ != 0) return bytes.size();
  bool complete = false;
  size_t body_bytes = 0;
  const absl::Status checked =
      CheckControlHeader(bytes, kControlBytesMax, &complete, &body_bytes);
  if (!checked.ok()) {
    End(NodeState::kUnclear, absl::StrCat("what listens at ", node_.path,
                                          " is no node: ", checked.message()));
    return bytes.size();
  }
  if (!complete) return 0;
  Take(bytes.subspan(sizeof(RecordHeader), body_bytes));
  return bytes.size();
}

void NodeQuery::Take(absl::Span<const std::byte> body) {
  v1::Control control;
  if (!control.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return End(NodeState::kUnclear, "its answer does not parse");
  }
  if (control.has_node_status()) {
    node_.status = std::move(*control.mutable_node_status());
    node_.name = node_.status.node();
    return End(NodeState::kRunning, "");
  }
  if (!control.has_reject()) {
    return End(NodeState::kUnclear, "it answers something else");
  }
  const v1::Reject& reject = control.reject();
  if (reject.reason() == v1::Reject::TOO_MANY_OBSERVERS) return DialLater();
  if (!reject.node().empty()) node_.name = reject.node();
  if (reject.reason() == v1::Reject::PROTOCOL_VERSION) {
    return End(NodeState::kRefused,
               absl::StrCat("it runs a version of Mycelium that cannot be "
                            "asked: ",
                            reject.message()));
  }
  End(NodeState::kRefused,
      absl::StrCat(v1::Reject::Reason_Name(reject.reason()), ": ",
                   reject.message()));
}

void NodeQuery::DialLater() {
  had_too_many_observers_ = true;
  // Until then nothing of this connection counts, not even its end.
  timer_ = loop_.RunAt(environment_.clock.NowNs() + kAgainNs, [this] {
    timer_ = 0;
    Dial();
  });
}

void NodeQuery::OnClosed(const absl::Status&) {
  if (timer_ != 0) return;
  End(NodeState::kUnclear,
      "it closed the connection without an answer: it is just ending, or "
      "cannot be asked");
}

void NodeQuery::End(NodeState state, const std::string& why) {
  if (is_done_) return;
  is_done_ = true;
  node_.state = state;
  node_.why = why;
}

SeenNode NodeQuery::Result(absl::Duration waited) const {
  if (is_done_) return node_;
  SeenNode node = node_;
  if (IsStopped(environment_.sys, node.pid)) {
    node.state = NodeState::kStopped;
    node.why =
        absl::StrCat("pid ", node.pid, " is stopped, by SIGSTOP or a debugger");
    return node;
  }
  if (had_too_many_observers_) {
    node.state = NodeState::kRefused;
    node.why =
        absl::StrCat("it has too many observers, asked again and again for ",
                     absl::FormatDuration(waited));
    return node;
  }
  node.state = NodeState::kSilent;
  node.why = absl::StrCat(
      node.pid > 0 ? absl::StrCat("pid ", node.pid) : "its process",
      " did not answer within ", absl::FormatDuration(waited),
      ": a handler or callback does not return, or it polls for itself and "
      "does not");
  return node;
}

}  // namespace mycelium
