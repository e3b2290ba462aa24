#include "mycelium/bus/admission.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace mycelium {
namespace {

// Whether a certificate with these names may be that node's. Names count in any
// case, as they do for the end that dials, but the name of a node does not: two
// nodes of a topology may differ by case alone.
bool IsNamed(const TopologyNode& node, const std::vector<std::string>& names) {
  if (node.certificate_name.empty() && node.host.empty()) {
    return std::find(names.begin(), names.end(), node.name) != names.end();
  }
  const auto has = [&](const std::string& name) {
    return std::any_of(names.begin(), names.end(), [&](const auto& other) {
      return absl::EqualsIgnoreCase(name, other);
    });
  };
  if (has(CertificateNameOf(node))) return true;
  // The host, however it is written.
  return node.certificate_name.empty() && !node.place.empty() &&
         has(node.place);
}

}  // namespace

absl::Status AdmitRemote(const Topology* topology, const BusOptions& options,
                         const RemotePeer& peer, const std::string& node) {
  const TopologyNode* const known =
      topology != nullptr ? topology->FindNode(node) : nullptr;
  if (known != nullptr) {
    if (!peer.has_certificate || IsNamed(*known, peer.names)) {
      return absl::OkStatus();
    }
    return absl::PermissionDeniedError(absl::StrCat(
        "the certificate of ", peer.address, " is not one of node ", node,
        ": it is for ", peer.names.empty() ? "nobody" : peer.names[0]));
  }
  if (peer.is_dialled || peer.is_loopback) return absl::OkStatus();
  const bool is_welcome = topology != nullptr
                              ? topology->allow_anonymous
                              : options.allow_anonymous || peer.has_certificate;
  if (is_welcome) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(
      "node ", node, " at ", peer.address,
      topology != nullptr ? " is not in the topology" : " is not known here",
      "; allow_anonymous = true would let it in"));
}

}  // namespace mycelium
