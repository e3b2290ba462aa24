#include "mycelium/transport/grpc/why_not_listening.h"

#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "mycelium/base/fd.h"
#include "mycelium/transport/grpc/grpc_address.h"

namespace mycelium {
namespace {

using AddressList = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

absl::Status StatusOf(int64_t error, const std::string& where) {
  switch (error) {
    case EADDRINUSE:
      return absl::AlreadyExistsError(
          absl::StrCat(where, "somebody else listens there"));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(absl::StrCat(
          where,
          "this user may not listen there; ports below 1024 are for the "
          "superuser, or for who has CAP_NET_BIND_SERVICE"));
    case EADDRNOTAVAIL:
      return absl::FailedPreconditionError(absl::StrCat(
          where,
          "that is no address of this machine; 0.0.0.0 and [::] are all "
          "that it has"));
    default:
      return absl::UnavailableError(
          absl::StrCat(where, std::strerror(static_cast<int>(error))));
  }
}

// The errno of taking the address; 0: it can be taken.
int64_t TryToTake(Sys& sys, const addrinfo& address) {
  const int64_t made = sys.Socket(address.ai_family, SOCK_STREAM);
  if (made < 0) return -made;
  const Fd socket(sys, static_cast<int>(made));
  const int on = 1;  // As gRPC does; what was closed is in nobody's way.
  (void)sys.SetSockOpt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  return -sys.Bind(socket.get(), address.ai_addr, address.ai_addrlen);
}

}  // namespace

absl::Status WhyNotListening(Sys& sys, const std::string& address) {
  const std::string where = absl::StrCat("listening at ", address, ": ");
  const std::string host = HostOfAddress(address);
  if (host.empty()) {  // A Unix socket.
    return absl::UnavailableError(absl::StrCat(
        where,
        "gRPC cannot; the folder must be there and be this user's, and "
        "nobody may listen there"));
  }
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string port = address.substr(address.rfind(':') + 1);
  if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
      error != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, "host ", host, ": ", gai_strerror(error)));
  }
  const AddressList addresses(found, &freeaddrinfo);
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    if (const int64_t error = TryToTake(sys, *each); error != 0) {
      return StatusOf(error, where);
    }
  }
  return absl::UnavailableError(
      absl::StrCat(where,
                   "gRPC could not, and says not why; the address can "
                   "be taken now"));
}

}  // namespace mycelium
