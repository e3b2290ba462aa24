#include "mycelium/transport/grpc/grpc_credentials.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/transport/grpc/grpc_address.h"

namespace mycelium {
namespace {

namespace tls = ::grpc::experimental;

// How often the files are looked at; gRPC counts in seconds.
constexpr unsigned kReloadSeconds = 1;

absl::Status CheckFiles(const RemoteOptions& options) {
  for (const std::string* path :
       {&options.certificate, &options.key, &options.ca}) {
    if (path->empty()) continue;
    if (std::ifstream(*path).peek() == std::ifstream::traits_type::eof()) {
      return absl::InvalidArgumentError(
          absl::StrCat("[tls]: ", *path, " cannot be read, or is empty"));
    }
  }
  return absl::OkStatus();
}

std::shared_ptr<tls::CertificateProviderInterface> ProviderOf(
    const RemoteOptions& options) {
  return std::make_shared<tls::FileWatcherCertificateProvider>(
      options.key, options.certificate, options.ca, kReloadSeconds);
}

}  // namespace

absl::Status CheckPlaintext(const RemoteOptions& options,
                            const std::string& act,
                            const std::string& address) {
  if (options.insecure || IsLoopbackAddress(address)) return absl::OkStatus();
  const bool dials = act == "dialling";
  if (dials ? options.has_tls() : !options.certificate.empty()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat(act, " ", address,
                   " without TLS; add a certificate in [tls], or insecure = "
                   "true to send in the clear"));
}

absl::StatusOr<std::shared_ptr<::grpc::ServerCredentials>>
MakeServerCredentials(const RemoteOptions& options) {
  if (options.certificate.empty()) return ::grpc::InsecureServerCredentials();
  if (absl::Status checked = CheckFiles(options); !checked.ok()) return checked;
  tls::TlsServerCredentialsOptions server(ProviderOf(options));
  server.watch_identity_key_cert_pairs();
  if (options.ca.empty()) {
    server.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  } else {
    server.watch_root_certs();
    server.set_cert_request_type(
        options.require_client_certificate
            ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
            : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return tls::TlsServerCredentials(server);
}

absl::StatusOr<std::shared_ptr<::grpc::ChannelCredentials>>
MakeChannelCredentials(const RemoteOptions& options) {
  if (!options.has_tls()) return ::grpc::InsecureChannelCredentials();
  if (absl::Status checked = CheckFiles(options); !checked.ok()) return checked;
  tls::TlsChannelCredentialsOptions channel;
  channel.set_certificate_provider(ProviderOf(options));
  // Without a CA of its own the system's are believed.
  if (!options.ca.empty()) channel.watch_root_certs();
  if (!options.certificate.empty()) channel.watch_identity_key_cert_pairs();
  channel.set_certificate_verifier(
      std::make_shared<tls::HostNameCertificateVerifier>());
  return tls::TlsCredentials(channel);
}

RemotePeer PeerFrom(const std::string& reported,
                    const ::grpc::AuthContext* context) {
  RemotePeer peer;
  peer.address = ReadableAddress(reported);
  peer.is_loopback = IsLoopbackAddress(peer.address);
  if (context == nullptr || !context->IsPeerAuthenticated()) return peer;
  peer.has_certificate = true;
  for (const char* property :
       {GRPC_X509_SAN_PROPERTY_NAME, GRPC_X509_CN_PROPERTY_NAME}) {
    for (const auto& value : context->FindPropertyValues(property)) {
      peer.names.emplace_back(value.data(), value.size());
    }
    // The common name counts where there is no other.
    if (!peer.names.empty()) break;
  }
  return peer;
}

std::string DescribePeer(const RemotePeer& peer) {
  if (peer.names.empty()) return peer.address;
  return absl::StrCat(peer.address, ", certificate of ", peer.names[0]);
}

}  // namespace mycelium
