#ifndef MYCELIUM_TRANSPORT_GRPC_GRPC_CREDENTIALS_H_
#define MYCELIUM_TRANSPORT_GRPC_GRPC_CREDENTIALS_H_

#include <grpcpp/security/auth_context.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mycelium/transport/remote_transport.h"

namespace mycelium {

// How connections to other hosts are encrypted, and who is at the other end.
// Certificates are read again when their files change; links that are up keep
// what they were made with.

// OK if what is sent is encrypted, or does not leave this machine, or the
// author of the configuration wants it so. `act`: "listening at".
absl::Status CheckPlaintext(const RemoteOptions& options,
                            const std::string& act, const std::string& address);

// INVALID_ARGUMENT: a file that is named cannot be read, or the configuration
// is not enough to listen, or to dial, with; see FaultsOf() of a Tls, too.
absl::StatusOr<std::shared_ptr<::grpc::ServerCredentials>>
MakeServerCredentials(const RemoteOptions& options);
absl::StatusOr<std::shared_ptr<::grpc::ChannelCredentials>>
MakeChannelCredentials(const RemoteOptions& options);

// `reported`: the peer's address, as gRPC has it.
RemotePeer PeerFrom(const std::string& reported,
                    const ::grpc::AuthContext* context);
std::string DescribePeer(const RemotePeer& peer);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_GRPC_CREDENTIALS_H_
