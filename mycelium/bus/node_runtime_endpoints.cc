// The part of NodeRuntime that is about where the node listens and whom it
// dials.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/bus/node_runtime.h"
#include "mycelium/topology/place.h"
#include "mycelium/topology/route_rules.h"
#include "mycelium/topology/socket_dir.h"
#include "mycelium/transport/remote_transport.h"
#include "mycelium/transport/shm/memfd_memory.h"
#include "mycelium/transport/shm/shm_transport.h"
#include "mycelium/transport/uds/unix_transport.h"

namespace mycelium {
namespace {

// Whether a certificate with these names may be that node's.
bool IsNamed(const TopologyNode& node, const std::vector<std::string>& names) {
  const auto has = [&](const std::string& name) {
    return !name.empty() &&
           std::find(names.begin(), names.end(), name) != names.end();
  };
  if (!node.certificate_name.empty()) return has(node.certificate_name);
  return has(node.host) || has(node.place) || has(node.name);
}

}  // namespace

void NodeRuntime::MakeTransports(const Limits& limits) {
  UnixTransport::Options unix_options;
  unix_options.allow_uids =
      topology_ != nullptr ? topology_->allow_uids : options_.allow_uids;
  unix_options.frame_bytes_max = limits.frame_bytes_max;
  unix_options.log = options_.log;
  unix_ = std::make_unique<UnixTransport>(environment_, *loop_, unix_options);
  memory_ = MemfdMemory::Create(environment_.sys);
  if (memory_.ok()) {
    shm_ = std::make_unique<ShmTransport>(environment_, *loop_,
                                          std::move(unix_options));
  }
  if (MakeRemoteTransport == nullptr) return;
  const Tls& tls = topology_ != nullptr ? topology_->tls : options_.tls;
  RemoteOptions remote;
  remote.frame_bytes_max = limits.frame_bytes_max;
  remote.links = limits.links;
  remote.handshake = limits.handshake;
  remote.keepalive = limits.keepalive;
  remote.certificate = tls.certificate;
  remote.key = tls.key;
  remote.ca = tls.ca;
  remote.require_client_certificate = tls.require_client_certificate;
  remote.insecure =
      topology_ != nullptr ? topology_->insecure : options_.insecure;
  remote.certificate_name = [this](const std::string& address) {
    if (topology_ == nullptr) return std::string();
    for (const TopologyNode& node : topology_->nodes) {
      if (GrpcDialAddress(node) == address) return node.certificate_name;
    }
    return std::string();
  };
  remote.admit = [this](const RemotePeer& peer, const std::string& node) {
    return AdmitRemote(peer, node);
  };
  remote.log = options_.log;
  remote_ = MakeRemoteTransport(environment_, *loop_, std::move(remote));
}

absl::Status NodeRuntime::AdmitRemote(const RemotePeer& peer,
                                      const std::string& node) const {
  if (peer.is_dialled) return absl::OkStatus();
  const TopologyNode* const known =
      topology_ != nullptr ? topology_->FindNode(node) : nullptr;
  if (known != nullptr) {
    if (!peer.has_certificate || IsNamed(*known, peer.names)) {
      return absl::OkStatus();
    }
    return absl::PermissionDeniedError(absl::StrCat(
        "the certificate of ", peer.address, " is not one of node ", node,
        ": it is for ", peer.names.empty() ? "nobody" : peer.names[0]));
  }
  const bool is_welcome =
      topology_ != nullptr ? topology_->allow_anonymous
                           : options_.allow_anonymous || peer.has_certificate;
  if (peer.is_loopback || is_welcome) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(
      "node ", node, " at ", peer.address,
      topology_ != nullptr ? " is not in the topology" : " is not known here",
      "; allow_anonymous = true would let it in"));
}

absl::Status NodeRuntime::StartTopology() {
  const TopologyNode* self = topology_->FindNode(node_);
  if (self == nullptr) return absl::OkStatus();
  struct Dialled {
    Transport* transport;
    std::string address, node, rule;
  };
  std::vector<Dialled> dialled;
  bool has_local_peers = false;
  bool shares = false;
  bool listens_remotely = self->endpoint.has_value() &&
                          self->endpoint->kind == TransportKind::kGrpc;
  for (const TopologyNode& other : topology_->nodes) {
    if (other.name == node_) continue;
    absl::StatusOr<Connection> connection =
        Explain(*topology_, node_, other.name);
    if (!connection.ok()) return connection.status();
    if (connection->transport != TransportKind::kGrpc) {
      has_local_peers = true;
      dialled.push_back(
          {unix_.get(), connection->address, other.name, connection->rule});
      continue;
    }
    if (remote_ == nullptr) {
      options_.log(
          LogLevel::kWarning,
          absl::StrCat("node ", other.name, " is reached over grpc (",
                       connection->rule, "), which this build does not have"));
      continue;
    }
    listens_remotely = true;
    // Empty: it dials us.
    const std::string address = GrpcDialAddress(other);
    if (!address.empty()) {
      dialled.push_back({remote_.get(), address, other.name, connection->rule});
    }
  }
  if (shares && !memory_.ok()) {
    options_.log(LogLevel::kWarning,
                 absl::StrCat("node ", node_,
                              " shares no memory: ", memory_.status().message(),
                              "; its links of kind shm go over Unix sockets"));
  }
  if (has_local_peers) {
    if (absl::Status listening = ListenLocally(*self); !listening.ok()) {
      return listening;
    }
  }
  const std::string remote_address = GrpcListenAddress(*self);
  if (remote_ != nullptr && listens_remotely && !remote_address.empty()) {
    absl::StatusOr<BoundListener> listening = ListenRemote(remote_address);
    if (!listening.ok()) return listening.status();
  }
  OnLoop([&] {
    for (const Dialled& peer : dialled) {
      peers_->Dial(*peer.transport, peer.address, peer.node, peer.rule);
    }
  });
  return absl::OkStatus();
}

absl::Status NodeRuntime::ListenLocally(const TopologyNode& self) {
  if (!topology_->socket_dir_configured || !self.endpoint.has_value()) {
    if (absl::Status prepared = PrepareSocketDir(
            environment_.sys, topology_->socket_dir, topology_->allow_uids);
        !prepared.ok()) {
      return prepared;
    }
  }
  return Listen(LocalTransportFor(TransportKind::kShm),
                topology_->SocketPath(self))
      .status();
}

absl::StatusOr<NodeRuntime::BoundListener> NodeRuntime::Listen(
    Transport& transport, const std::string& address) {
  absl::StatusOr<BoundListener> result = absl::InternalError("not run");
  OnLoop([&] {
    // Here, so that Shutdown() closes every listener that was made.
    if (absl::Status open = CheckOpen(); !open.ok()) {
      result = open;
      return;
    }
    absl::StatusOr<std::unique_ptr<Listener>> listener = transport.Listen(
        address, [this, &transport](std::unique_ptr<Channel> channel,
                                    const absl::Status& admitted) {
          peers_->Accept(transport.word(), std::move(channel), admitted);
        });
    if (!listener.ok()) {
      result = listener.status();
      return;
    }
    result = BoundListener{next_listener_, (*listener)->address()};
    listeners_[next_listener_++] = *std::move(listener);
  });
  return result;
}

absl::StatusOr<uint64_t> NodeRuntime::ListenUnix(const std::string& path) {
  absl::StatusOr<BoundListener> listener = Listen(*unix_, path);
  if (!listener.ok()) return listener.status();
  return listener->id;
}

absl::StatusOr<uint64_t> NodeRuntime::ListenShm(const std::string& path) {
  if (shm_ == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("shared memory: ", memory_.status().message()));
  }
  absl::StatusOr<BoundListener> listener = Listen(*shm_, path);
  if (!listener.ok()) return listener.status();
  return listener->id;
}

void NodeRuntime::StopListening(uint64_t listener) {
  OnLoop([&] { listeners_.erase(listener); });
}

absl::Status NodeRuntime::Dial(Transport& transport,
                               const std::string& address) {
  absl::Status open;
  OnLoop([&] {
    open = CheckOpen();
    if (open.ok()) peers_->Dial(transport, address, "", "dialled by hand");
  });
  return open;
}

absl::Status NodeRuntime::DialUnix(const std::string& path) {
  return Dial(*unix_, path);
}

absl::Status NodeRuntime::DialShm(const std::string& path) {
  return Dial(LocalTransportFor(TransportKind::kShm), path);
}

absl::Status NodeRuntime::CheckRemote() const {
  if (remote_ != nullptr) return absl::OkStatus();
  return absl::UnimplementedError(
      "grpc: this program was linked without it; it is in "
      "//mycelium:mycelium");
}

absl::StatusOr<NodeRuntime::BoundListener> NodeRuntime::ListenRemote(
    const std::string& address) {
  if (absl::Status has = CheckRemote(); !has.ok()) return has;
  return Listen(*remote_, address);
}

absl::Status NodeRuntime::DialRemote(const std::string& address) {
  if (absl::Status has = CheckRemote(); !has.ok()) return has;
  return Dial(*remote_, address);
}

}  // namespace mycelium
