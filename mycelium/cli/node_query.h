#ifndef MYCELIUM_CLI_NODE_QUERY_H_
#define MYCELIUM_CLI_NODE_QUERY_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/cli/host_view.h"
#include "mycelium/transport/channel.h"

namespace mycelium {

// Asks the node that listens at a socket what it is doing: one connection, one
// answer. A node that has too many observers is asked again a little later.
//
// Does not trust the peer: an answer has at most 1 MiB, and is checked. A
// process that listens there is asked only if it runs as this process's user or
// as root; root asks every process.
//
// Thread safety: on the loop. Ownership: borrows the environment and the loop.
class NodeQuery final : private Channel::Handler {
 public:
  // Begins to ask. REQUIRES: the name and the path of `node` are set.
  NodeQuery(Environment& environment, EventLoop& loop, SeenNode node);
  ~NodeQuery() override;

  bool is_done() const { return is_done_; }

  // The result. If the query is not done, `waited` was not enough.
  SeenNode Result(absl::Duration waited) const;

 private:
  void Dial();
  void End(NodeState state, const std::string& why);
  void EndAfterFailedDial(int64_t error, const absl::Status& status);
  void SendMore();
  void Take(absl::Span<const std::byte> body);
  void DialLater();

  // Channel::Handler:
  size_t OnBytes(absl::Span<const std::byte> bytes) override;
  void OnWritable() override { SendMore(); }
  void OnClosed(const absl::Status& status) override;

  Environment& environment_;
  EventLoop& loop_;
  SeenNode node_;
  std::unique_ptr<Channel> channel_;
  std::string outgoing_;
  uint64_t timer_ = 0;
  // The only answer so far is that it has too many observers.
  bool had_too_many_observers_ = false;
  bool is_done_ = false;
};

}  // namespace mycelium

#endif  // MYCELIUM_CLI_NODE_QUERY_H_
