// The part of NodeRuntime that listens and dials.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/bus/node_runtime.h"
#include "mycelium/topology/route_rules.h"
#include "mycelium/topology/socket_dir.h"

namespace mycelium {
namespace {

absl::Status CheckCapacity(const std::string& path, uint64_t lane_bytes) {
  if (lane_bytes == 0 ||
      (lane_bytes >= kRingBytesMin && lane_bytes <= kLaneBytesMax)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "endpoint ", path, ": a capacity of ", lane_bytes, " bytes; ",
      kRingBytesMin, " to ", kLaneBytesMax, " are allowed"));
}

absl::StatusOr<uint64_t> IdOf(
    const absl::StatusOr<NodeRuntime::BoundListener>& bound) {
  if (!bound.ok()) return bound.status();
  return bound->id;
}

}  // namespace

absl::Status NodeRuntime::Start() {
  if (topology_ == nullptr) return absl::OkStatus();
  Started before = Started::kNo;
  while (!started_.compare_exchange_strong(before, Started::kUnderWay)) {
    if (before == Started::kYes) return absl::OkStatus();
    // A second service waits to see how the start went. A callback that runs
    // meanwhile does not wait, since the start may wait for it.
    const auto is_over = [&] { return started_.load() != Started::kUnderWay; };
    if (WaitFor(started_event_, is_over, kNever) == Outcome::kWouldDeadlock) {
      return absl::UnavailableError(absl::StrCat(
          "node ", node_,
          " is being started, by a call that this callback keeps; call again "
          "once FromTopology() has returned there"));
    }
    before = Started::kNo;
  }
  const absl::Status status = StartTopology();
  // Another service may start this node again. What it does on the loop comes
  // behind this.
  if (!status.ok()) loop_->Post([this] { listeners_.clear(); });
  started_.store(status.ok() ? Started::kYes : Started::kNo);
  started_event_.Notify(environment_.waiter);
  return status;
}

absl::Status NodeRuntime::StartTopology() {
  const TopologyNode* self = topology_->FindNode(node_);
  if (self == nullptr) return absl::OkStatus();
  struct Dialled {
    Transport* transport;
    std::string address, node, rule;
  };
  std::vector<Dialled> dialled;
  bool shares = false;
  bool listens_remotely = self->endpoint.has_value() &&
                          self->endpoint->kind == TransportKind::kGrpc;
  const absl::StatusOr<std::vector<PlannedLink>> links =
      LinksOf(*topology_, *self);
  if (!links.ok()) return links.status();
  for (const auto& [other, connection] : *links) {
    if (connection.transport != TransportKind::kGrpc) {
      shares |= connection.transport == TransportKind::kShm;
      dialled.push_back({&LocalTransportFor(connection.transport),
                         connection.address, other->name, connection.rule});
      continue;
    }
    if (remote_ == nullptr) {
      options_.log(
          LogLevel::kWarning,
          absl::StrCat("node ", other->name, " is reached over grpc (",
                       connection.rule, "), which this build does not have"));
      continue;
    }
    listens_remotely = true;
    // Empty: the other node dials us.
    const std::string address = GrpcDialAddress(*other);
    if (!address.empty()) {
      dialled.push_back({remote_.get(), address, other->name, connection.rule});
    }
  }
  if (shares && !memory_.ok()) {
    options_.log(LogLevel::kWarning,
                 absl::StrCat("node ", node_,
                              " shares no memory: ", memory_.status().message(),
                              "; its links of kind shm go over Unix sockets"));
  }
  if (ListensLocally(*topology_, *self)) {
    if (absl::Status listening = ListenLocally(*self); !listening.ok()) {
      return listening;
    }
  }
  if (listens_remotely) {
    if (absl::Status listening = ListenBeyond(*self); !listening.ok()) {
      return listening;
    }
  }
  return OnLoop([&] {
    for (const Dialled& peer : dialled) {
      peers_->Dial(*peer.transport, peer.address, peer.node, peer.rule);
    }
    return absl::OkStatus();
  });
}

absl::Status NodeRuntime::ListenLocally(const TopologyNode& self) {
  const bool is_elsewhere = self.endpoint.has_value() &&
                            self.endpoint->kind != TransportKind::kGrpc &&
                            !self.endpoint->address.empty();
  if (!topology_->socket_dir_configured || !is_elsewhere) {
    if (absl::Status prepared = PrepareSocketDir(
            environment_.sys, topology_->socket_dir, topology_->allow_uids);
        !prepared.ok()) {
      return prepared;
    }
  }
  return ListenOn(LocalTransportFor(TransportKind::kShm),
                  topology_->SocketPath(self), {})
      .status();
}

absl::Status NodeRuntime::ListenBeyond(const TopologyNode& self) {
  const std::string address = GrpcListenAddress(self);
  if (address.empty()) return absl::OkStatus();  // This node only dials.
  if (remote_ == nullptr) {
    options_.log(
        LogLevel::kWarning,
        absl::StrCat("node ", node_, " does not listen at ", address,
                     ": its endpoint is of kind grpc, which this build does "
                     "not have"));
    return absl::OkStatus();
  }
  if (absl::Status listens = ListenRemote(address).status(); !listens.ok()) {
    return listens;
  }
  // Another node's file may have a certificate: then it is only this node that
  // dials.
  if (topology_->tls.certificate.empty() && topology_->tls.enabled()) {
    options_.log(
        LogLevel::kWarning,
        absl::StrCat("node ", node_, " listens at ", address,
                     " in the clear, since [tls] has a ca and no certificate; "
                     "a node that dials with TLS, as this file says, does not "
                     "get through to it"));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> NodeRuntime::ListenUnix(const std::string& path,
                                                 EndpointOptions options) {
  return IdOf(ListenOn(*unix_, path, std::move(options)));
}

absl::StatusOr<uint64_t> NodeRuntime::ListenShm(const std::string& path,
                                                const std::string& service,
                                                EndpointOptions options) {
  if (is_inherited()) return CheckNotForked();
  if (absl::Status good = CheckCapacity(path, options.lane_bytes); !good.ok()) {
    return good;
  }
  const std::string insists = SchemaDigestOf(service);
  if (options.schema_digest.has_value() && !insists.empty() &&
      options.schema_digest->bytes() != insists) {
    return absl::FailedPreconditionError(absl::StrCat(
        "endpoint ", path, ": its schema digest ",
        options.schema_digest->ToHex(), " is not the one of service ", service,
        ", whose bus was given another"));
  }
  if (shm_ != nullptr) return IdOf(ListenOn(*shm_, path, std::move(options)));
  return absl::UnavailableError(
      absl::StrCat("shared memory: ", memory_.status().message()));
}

absl::StatusOr<NodeRuntime::BoundListener> NodeRuntime::ListenOn(
    Transport& transport, const std::string& path, EndpointOptions options) {
  if (is_inherited()) return CheckNotForked();
  const auto endpoint =
      std::make_shared<const EndpointOptions>(std::move(options));
  BoundListener bound;
  const absl::Status listens = OnLoop([&]() -> absl::Status {
    // Checked on the loop, so that Shutdown() closes every listener that was
    // made.
    if (absl::Status open = CheckOpen(); !open.ok()) return open;
    absl::StatusOr<std::unique_ptr<Listener>> listener = transport.Listen(
        path, [this, &transport, endpoint](std::unique_ptr<Channel> channel,
                                           const absl::Status& admitted) {
          peers_->Accept(transport.word(), endpoint, std::move(channel),
                         admitted);
        });
    if (!listener.ok()) return listener.status();
    bound = {next_listener_++, (*listener)->address()};
    listeners_[bound.id] = {std::string(transport.word()),
                            *std::move(listener)};
    return absl::OkStatus();
  });
  if (!listens.ok()) return listens;
  return bound;
}

bool NodeRuntime::StopListening(uint64_t listener, TimeNs deadline) {
  if (is_inherited()) return true;
  Patience patience{deadline};
  return OnLoopBy([this, listener] { listeners_.erase(listener); }, patience);
}

absl::Status NodeRuntime::DialUnix(const std::string& path) {
  return DialOn(*unix_, path, /*lane_bytes=*/0);
}

absl::Status NodeRuntime::DialShm(const std::string& path,
                                  uint64_t lane_bytes) {
  if (absl::Status good = CheckCapacity(path, lane_bytes); !good.ok()) {
    return good;
  }
  return DialOn(LocalTransportFor(TransportKind::kShm), path, lane_bytes);
}

absl::Status NodeRuntime::DialOn(Transport& transport, const std::string& path,
                                 uint64_t lane_bytes) {
  if (is_inherited()) return CheckNotForked();
  if (path.empty() || path.size() > kSocketPathBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("dial \"", path, "\": the path has ", path.size(),
                     " bytes; 1 to ", kSocketPathBytesMax, " are allowed"));
  }
  return OnLoop([&] {
    absl::Status open = CheckOpen();
    if (open.ok()) {
      peers_->Dial(transport, path, "", "dialled by hand", lane_bytes);
    }
    return open;
  });
}

DropCounts NodeRuntime::DropsOf(const std::string& peer) const {
  DropCounts drops = {};
  for (const FlowReport& flow : FlowReports()) {
    if (flow.publisher_node != peer && flow.subscriber_node != peer) continue;
    for (size_t i = 0; i < drops.size(); ++i)
      drops[i] += flow.ledger.dropped[i];
  }
  return drops;
}

std::shared_ptr<LoanMemory> NodeRuntime::MakeLoanMemory(size_t bytes) {
  if (!memory_.ok()) return nullptr;
  absl::StatusOr<std::shared_ptr<SharedLaneMemory>> made =
      (*memory_)->Create(bytes);
  if (!made.ok()) {
    options_.log(LogLevel::kWarning,
                 absl::StrCat("node ", node_, ": no shared memory for loans, ",
                              "which are copied: ", made.status().message()));
    return nullptr;
  }
  return std::make_shared<LoanMemory>(
      next_loan_memory_.fetch_add(1, std::memory_order_relaxed),
      *std::move(made));
}

}  // namespace mycelium
