// The part of NodeRuntime that is about other hosts, and what transports there
// are.
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/bus/admission.h"
#include "mycelium/bus/node_runtime.h"
#include "mycelium/transport/grpc/grpc_address.h"
#include "mycelium/transport/remote_transport.h"
#include "mycelium/transport/shm/memfd_memory.h"
#include "mycelium/transport/shm/shm_transport.h"
#include "mycelium/transport/uds/unix_transport.h"

namespace mycelium {
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
  RemoteOptions remote;
  remote.frame_bytes_max = limits.frame_bytes_max;
  remote.links = limits.links;
  remote.handshake = limits.handshake;
  remote.keepalive = limits.keepalive;
  remote.tls = topology_ != nullptr ? topology_->tls : options_.tls;
  remote.insecure =
      topology_ != nullptr ? topology_->insecure : options_.insecure;
  remote.certificate_name = [this](const std::string& address) {
    if (topology_ == nullptr) return std::string();
    for (const TopologyNode& node : topology_->nodes) {
      if (GrpcDialAddress(node) == address) return CertificateNameOf(node);
    }
    return std::string();
  };
  remote.admit = [this](const RemotePeer& peer, const std::string& node) {
    return AdmitRemote(topology_.get(), options_, peer, node);
  };
  remote.log = options_.log;
  remote_ = MakeRemoteTransport(environment_, *loop_, std::move(remote));
}

absl::Status NodeRuntime::CheckRemote() const {
  if (is_inherited()) return CheckNotForked();
  if (remote_ != nullptr) return absl::OkStatus();
  return absl::UnimplementedError(
      "grpc: this program was linked without it; it is in "
      "//mycelium:mycelium");
}

absl::StatusOr<NodeRuntime::BoundListener> NodeRuntime::ListenRemote(
    const std::string& address, EndpointOptions options) {
  if (absl::Status has = CheckRemote(); !has.ok()) return has;
  return ListenOn(*remote_, address, std::move(options));
}

absl::Status NodeRuntime::DialRemote(const std::string& address) {
  if (absl::Status has = CheckRemote(); !has.ok()) return has;
  if (const std::string fault = AddressFault(address, /*port_min=*/1);
      !fault.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("dial \"", address, "\": ", fault));
  }
  return OnLoop([&] {
    absl::Status open = CheckOpen();
    if (open.ok()) peers_->Dial(*remote_, address, "", "dialled by hand");
    return open;
  });
}

}  // namespace mycelium
