#include "mycelium/transport/grpc/why_not_listening.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/fd.h"
#include "mycelium/transport/grpc/grpc_address.h"

namespace mycelium {
namespace {

using AddressList = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

std::string PortOf(const std::string& address) {
  return address.substr(address.rfind(':') + 1);
}

// What getaddrinfo() returns; 0: `*found` has all addresses of the host.
int Resolve(const std::string& host, const std::string& port, int flags,
            AddressList* found) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV | flags;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &list);
  if (error == 0) found->reset(list);
  return error;
}

// Whether an address cannot be taken since it is not of this machine, or of a
// kind that this machine does not have.
bool IsElsewhere(int64_t error) {
  return error == EADDRNOTAVAIL || error == EAFNOSUPPORT;
}

// "host:port" in numbers; empty: it has none.
std::string NumericAddress(const addrinfo& address) {
  char host[NI_MAXHOST] = {};
  char port[NI_MAXSERV] = {};
  if (getnameinfo(address.ai_addr, address.ai_addrlen, host, sizeof host, port,
                  sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "";
  }
  return address.ai_family == AF_INET6 ? absl::StrCat("[", host, "]:", port)
                                       : absl::StrCat(host, ":", port);
}

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

std::vector<std::string> AddressesToListenAt(Sys& sys,
                                             const std::string& address) {
  const std::string host = HostOfAddress(address);
  const std::string port = PortOf(address);
  AddressList found(nullptr, &freeaddrinfo);
  if (host.empty() || port == "0" ||
      Resolve(host, port, AI_NUMERICHOST, &found) == 0 ||
      Resolve(host, port, /*flags=*/0, &found) != 0 ||
      found->ai_next == nullptr) {
    return {address};
  }
  std::vector<std::string> numeric;
  for (const addrinfo* each = found.get(); each != nullptr;
       each = each->ai_next) {
    if (IsElsewhere(TryToTake(sys, *each))) continue;
    std::string one = NumericAddress(*each);
    if (!one.empty() &&
        std::find(numeric.begin(), numeric.end(), one) == numeric.end()) {
      numeric.push_back(std::move(one));
    }
  }
  if (numeric.empty()) return {address};
  return numeric;
}

absl::Status WhyNotListening(Sys& sys, const std::string& address) {
  const std::string where = absl::StrCat("listening at ", address, ": ");
  const std::string host = HostOfAddress(address);
  if (host.empty()) {  // A Unix socket.
    return absl::UnavailableError(absl::StrCat(
        where,
        "gRPC cannot; the folder must be there and be this user's, and "
        "nobody may listen there"));
  }
  AddressList found(nullptr, &freeaddrinfo);
  if (const int error = Resolve(host, PortOf(address), /*flags=*/0, &found);
      error != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, "host ", host, ": ", gai_strerror(error)));
  }
  int64_t elsewhere = 0;
  bool has_any = false;
  for (const addrinfo* each = found.get(); each != nullptr;
       each = each->ai_next) {
    const int64_t error = TryToTake(sys, *each);
    if (error != 0 && !IsElsewhere(error)) return StatusOf(error, where);
    if (error != 0) elsewhere = error;
    has_any |= error == 0;
  }
  if (!has_any && elsewhere != 0) return StatusOf(elsewhere, where);
  return absl::UnavailableError(
      absl::StrCat(where,
                   "gRPC could not, and says not why; the address can "
                   "be taken now"));
}

}  // namespace mycelium
