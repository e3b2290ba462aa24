#include "mycelium/transport/grpc/grpc_credentials.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mycelium/transport/grpc/grpc_address.h"

namespace mycelium {
namespace {

namespace tls = ::grpc::experimental;

// How often the files are looked at; gRPC counts in seconds.
constexpr unsigned kReloadSeconds = 1;

struct PemFile {
  absl::string_view setting;
  const std::string& path;
  absl::string_view label;  // Or the end of it, as in "RSA PRIVATE KEY".
};

// gRPC tells nobody what it finds wrong in a file.
absl::Status CheckPem(const PemFile& file) {
  std::ifstream in(file.path);
  std::string line;
  bool is_empty = true;
  while (std::getline(in, line)) {
    is_empty = false;
    const absl::string_view text = absl::StripTrailingAsciiWhitespace(line);
    if (absl::StartsWith(text, "-----BEGIN ") &&
        absl::EndsWith(text, absl::StrCat(file.label, "-----"))) {
      return absl::OkStatus();
    }
  }
  if (is_empty) {
    return absl::InvalidArgumentError(
        absl::StrCat("[tls]: ", file.path, " cannot be read, or is empty"));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "[tls]: ", file.setting, " ", file.path, " has no line \"-----BEGIN ",
      file.label, "-----\", as a file in PEM format has"));
}

// gRPC ends the process for some of what is refused here.
absl::Status CheckTls(const Tls& tls) {
  for (const TlsFault& fault : FaultsOf(tls)) {
    return absl::InvalidArgumentError(absl::StrCat("[tls]: ", fault.text));
  }
  for (const PemFile& file :
       {PemFile{"certificate", tls.certificate, "CERTIFICATE"},
        PemFile{"key", tls.key, "PRIVATE KEY"},
        PemFile{"ca", tls.ca, "CERTIFICATE"}}) {
    if (file.path.empty()) continue;
    if (absl::Status checked = CheckPem(file); !checked.ok()) return checked;
  }
  return absl::OkStatus();
}

std::shared_ptr<tls::CertificateProviderInterface> ProviderOf(
    const Tls& files) {
  return std::make_shared<tls::FileWatcherCertificateProvider>(
      files.key, files.certificate, files.ca, kReloadSeconds);
}

}  // namespace

absl::Status CheckPlaintext(const RemoteOptions& options,
                            const std::string& act,
                            const std::string& address) {
  if (options.insecure || IsLoopbackAddress(address)) return absl::OkStatus();
  const bool dials = act == "dialling";
  if (dials ? options.tls.enabled() : !options.tls.certificate.empty()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat(act, " ", address,
                   " without TLS; add a certificate in [tls], or insecure = "
                   "true to send in the clear"));
}

absl::StatusOr<std::shared_ptr<::grpc::ServerCredentials>>
MakeServerCredentials(const RemoteOptions& options) {
  if (absl::Status checked = CheckTls(options.tls); !checked.ok()) {
    return checked;
  }
  if (options.tls.certificate.empty()) {
    if (options.tls.require_client_certificate) {
      return absl::InvalidArgumentError(
          "[tls]: require_client_certificate without certificate; who listens "
          "in the clear is shown none");
    }
    return ::grpc::InsecureServerCredentials();
  }
  tls::TlsServerCredentialsOptions server(ProviderOf(options.tls));
  server.watch_identity_key_cert_pairs();
  if (options.tls.ca.empty()) {
    server.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  } else {
    server.watch_root_certs();
    server.set_cert_request_type(
        options.tls.require_client_certificate
            ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
            : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return tls::TlsServerCredentials(server);
}

absl::StatusOr<std::shared_ptr<::grpc::ChannelCredentials>>
MakeChannelCredentials(const RemoteOptions& options) {
  if (absl::Status checked = CheckTls(options.tls); !checked.ok()) {
    return checked;
  }
  if (!options.tls.enabled()) return ::grpc::InsecureChannelCredentials();
  tls::TlsChannelCredentialsOptions channel;
  channel.set_certificate_provider(ProviderOf(options.tls));
  // Without a CA of its own, the system's CAs are trusted.
  if (!options.tls.ca.empty()) channel.watch_root_certs();
  if (!options.tls.certificate.empty()) channel.watch_identity_key_cert_pairs();
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
    // The common name counts only if there is no other name.
    if (!peer.names.empty()) break;
  }
  return peer;
}

std::string DescribePeer(const RemotePeer& peer) {
  if (peer.names.empty()) return peer.address;
  return absl::StrCat(peer.address, ", certificate of ", peer.names[0]);
}

}  // namespace mycelium
