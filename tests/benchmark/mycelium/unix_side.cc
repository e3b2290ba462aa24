#include "tests/benchmark/mycelium/unix_side.h"

#include <unistd.h>

#include <utility>

#include "mycelium/bus/grpc_endpoint.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/mycelium/bus_options.h"

namespace mycelium::bench {
namespace {

constexpr absl::Duration kTurn = absl::Milliseconds(1);
constexpr int64_t kSettleNs = 1'000'000'000;

}  // namespace

absl::Status UnixSide::Open(const std::string& path) {
  BusOptions options = OptionsFor(what_, poll_, world_);
  options.node = stage_.role() == 0 ? "first" : "second";
  absl::StatusOr<std::unique_ptr<MessageBus>> bus = MessageBus::Create(options);
  if (!bus.ok()) return bus.status();
  bus_ = *std::move(bus);
  if (what_.transport == "shm") {
    NodeRuntime& node = *bus_->runtime();
    if (stage_.role() == 0) return node.DialShm(path);
    return node.ListenShm(path).status();
  }
  if (what_.transport == "grpc") {
    if (stage_.role() == 0) return DialGrpcEndpoint(path, *bus_);
    return bus_->runtime()->ListenRemote(path).status();
  }
  if (stage_.role() == 0) return DialUnixEndpoint(path, *bus_);
  absl::StatusOr<UnixEndpointHandle> endpoint = BindUnixEndpoint(path, *bus_);
  if (!endpoint.ok()) return endpoint.status();
  endpoint_.emplace(*std::move(endpoint));
  return absl::OkStatus();
}

void UnixSide::AddSyscallsSince(int64_t before) {
  if (what_.transport != "grpc") stage_.AddSyscalls(syscalls() - before);
}

absl::Status UnixSide::Until(absl::FunctionRef<bool()> done) {
  while (true) {
    // Before the look at failed_: a handler fails first and counts afterwards.
    const bool is_done = done();
    if (failed_.load(std::memory_order_acquire)) {
      std::lock_guard<std::mutex> lock(mutex_);
      return failure_;
    }
    if (is_done) return absl::OkStatus();
    if (stage_.aborted()) {
      return absl::AbortedError("the other side gave up");
    }
    if (!polls()) {
      // Seldom, because each look wakes a thread on the measured CPU.
      usleep(5000);  // waits: a handler of another thread does the work.
      continue;
    }
    if (const absl::StatusOr<bool> ran = bus_->Poll(kTurn); !ran.ok()) {
      return ran.status();
    }
  }
}

absl::Status UnixSide::Match(const PublisherBase* publisher) {
  if (publisher != nullptr) {
    absl::Status matched =
        Until([&] { return publisher->subscriber_count() == 1; });
    if (!matched.ok()) return matched;
  }
  shared().matched.fetch_add(1);
  return Until([&] { return shared().matched.load() == 2; });
}

void UnixSide::Fail(const absl::Status& status) {
  std::lock_guard<std::mutex> lock(mutex_);
  failure_ = status;
  failed_.store(true, std::memory_order_release);
}

absl::Status UnixSide::Settle(int64_t accepted, int64_t delivered) {
  FlowTotals own;
  const int64_t deadline_ns = NowNs() + kSettleNs;
  // A handler's last message is counted only after the handler has returned.
  absl::Status settled = Until([&] {
    own = TotalsOf(*bus_);
    return NowNs() > deadline_ns ||
           (own.accepted >= accepted && own.delivered >= delivered);
  });
  if (!settled.ok()) return settled;
  shared().accepted.fetch_add(own.accepted);
  shared().delivered.fetch_add(own.delivered);
  shared().dropped.fetch_add(own.dropped);
  if (!stage_.Meet()) return absl::AbortedError("the other side gave up");
  if (stage_.role() != 0) return absl::OkStatus();
  FlowTotals both;
  both.accepted = shared().accepted.load();
  both.delivered = shared().delivered.load();
  both.dropped = shared().dropped.load();
  return CheckTotals(both, accepted + delivered);
}

}  // namespace mycelium::bench
