#include "mycelium/bus/hello_rules.h"

#include "absl/strings/str_cat.h"
#include "mycelium/base/harmless.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/topology/topology.h"
#include "mycelium/transport/handshake.h"
#include "mycelium/transport/lane/lane.h"

namespace mycelium {
namespace {

// What a tag and a length take, of a field and of an entry, whose length may
// take two bytes.
constexpr size_t kFieldBytes = 2;
constexpr size_t kEntryBytes = 3;
constexpr size_t kDigestBytes = 32;
constexpr size_t kShownBytesMax = 255;

static_assert(kServicesPerNodeMax * (kEntryBytes + kFieldBytes + kNameBytesMax +
                                     kFieldBytes + kDigestBytes) <=
              kServicesBytesMax);

}  // namespace

size_t ServiceBytes(const std::string& name,
                    const std::optional<Digest>& schema_digest) {
  v1::ServiceInfo service;
  service.set_name(name);
  if (schema_digest.has_value()) {
    service.set_schema_digest(std::string(schema_digest->bytes()));
  }
  return kEntryBytes + service.ByteSizeLong();
}

std::optional<v1::Reject> JudgeHello(const v1::Hello& theirs,
                                     const std::string& self) {
  if (theirs.protocol_version() != kProtocolVersion) {
    return MakeReject(
        v1::Reject::PROTOCOL_VERSION,
        absl::StrCat("protocol version ", theirs.protocol_version(),
                     "; this node speaks ", kProtocolVersion));
  }
  if (theirs.node().empty() || theirs.node().size() > kNodeNameBytesMax ||
      theirs.incarnation() == 0) {
    return MakeReject(v1::Reject::MALFORMED,
                      "a Hello needs a node name of up to 255 bytes and an "
                      "incarnation");
  }
  if (theirs.lane_bytes() != 0 && (theirs.lane_bytes() < kRingBytesMin ||
                                   theirs.lane_bytes() > kLaneBytesMax)) {
    return MakeReject(
        v1::Reject::MALFORMED,
        absl::StrCat("lanes of ", theirs.lane_bytes(), " bytes; ",
                     kRingBytesMin, " to ", kLaneBytesMax, " are allowed"));
  }
  if (theirs.node() == self) {
    return MakeReject(v1::Reject::NODE_NAME_TAKEN,
                      absl::StrCat("this node is called ", self, " too"));
  }
  if (!theirs.to().empty() && theirs.to() != self) {
    return MakeReject(v1::Reject::ANOTHER_NODE,
                      absl::StrCat("this is node ", self, ", not ",
                                   Harmless(theirs.to(), kShownBytesMax)));
  }
  return std::nullopt;
}

std::optional<v1::Reject> JudgeHelloAt(const v1::Hello& theirs,
                                       const EndpointOptions& endpoint) {
  if (!endpoint.schema_digest.has_value()) return std::nullopt;
  const absl::string_view wanted = endpoint.schema_digest->bytes();
  for (const v1::ServiceInfo& service : theirs.services()) {
    const std::string& given = service.schema_digest();
    if (given.empty() || given == wanted) continue;
    const absl::StatusOr<Digest> digest = Digest::FromBytes(given);
    return MakeReject(
        v1::Reject::SCHEMA_DIGEST,
        absl::StrCat("service ", Harmless(service.name(), kShownBytesMax),
                     " has schema digest ",
                     digest.ok() ? digest->ToHex() : "of another size",
                     ", the endpoint ", endpoint.schema_digest->ToHex()));
  }
  return std::nullopt;
}

}  // namespace mycelium
