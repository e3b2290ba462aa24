#ifndef MYCELIUM_TOPOLOGY_SETTINGS_H_
#define MYCELIUM_TOPOLOGY_SETTINGS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mycelium {

// The settings of a route and the limits of a whole node, with their defaults.
// The table in docs/topology.md has the same numbers; a test compares the two.
//
// WordOf() gives the words for the enumerators, as users meet them in files,
// errors and flags.

enum class TransportKind { kInproc, kShm, kUnix, kGrpc };

// What happens when a lane is full.
enum class Overflow {
  kBlock,
  kFail,
  kDropNewest,
  kDropOldest,
  kLatest,
  kDisconnect,
};

// How a reader waits for the next message.
enum class WaitMode { kSpin, kAdaptive, kBlock };

// Which types two nodes accept from each other: only the same type, or also
// two compatible versions of one type (docs/schema.md).
enum class SchemaPolicy { kExact, kCompatible };

// The greatest values that may be set.
inline constexpr int64_t kDepthMax = 1 << 20;
inline constexpr int64_t kWindowMax = 1 << 16;

// How messages travel between one publisher and one subscriber. Every value is
// set: by a route, by [defaults], or by the defaults here.
struct RouteSettings {
  Overflow overflow = Overflow::kBlock;
  int64_t depth = 1024;  // Messages that wait in a lossy lane.
  // Messages of a lossy lane that are on their way or being handled.
  int64_t window = 16;
  int64_t lane_bytes = 4 << 20;
  absl::Duration publish_timeout = absl::Seconds(1);
  absl::Duration retain = absl::Seconds(5);  // For a subscriber that died.
  WaitMode wait = WaitMode::kAdaptive;
  absl::Duration spin = absl::Microseconds(50);  // Of WaitMode::kAdaptive.
};

// What one route changes; an empty value leaves what a less specific route,
// or [defaults], says.
struct RouteOverrides {
  std::optional<TransportKind> transport;
  std::optional<Overflow> overflow;
  std::optional<int64_t> depth;
  std::optional<int64_t> window;
  std::optional<int64_t> lane_bytes;
  std::optional<absl::Duration> publish_timeout;
  std::optional<absl::Duration> retain;
  std::optional<WaitMode> wait;
  std::optional<absl::Duration> spin;
};

// Bounds of a node.
struct Limits {
  absl::Duration handshake = absl::Seconds(2);
  int64_t frame_bytes_max = 2 << 20;
  int64_t links = 256;
  absl::Duration reconnect_min = absl::Milliseconds(10);
  absl::Duration reconnect_max = absl::Seconds(2);
  absl::Duration keepalive = absl::Seconds(10);
  // How often a message that kills its subscriber's process is delivered again
  // before it is dropped as poison.
  int64_t redeliver_max = 3;
};

// The files for encryption between hosts.
struct Tls {
  std::string certificate;  // PEM files.
  std::string key;
  std::string ca;
  bool require_client_certificate = false;

  bool enabled() const { return !certificate.empty() || !ca.empty(); }
};

// Why a [tls] table cannot be used to encrypt, or in what it promises more than
// it checks.
struct TlsFault {
  absl::string_view key;  // The key of [tls]; empty: the whole table.
  absl::string_view text;
};
std::vector<TlsFault> FaultsOf(const Tls& tls);

// The largest frame that a lane of that size accepts: two of them fit, so that
// one can be written while the other is read.
constexpr int64_t FrameBytesFor(int64_t lane_bytes) { return lane_bytes / 2; }

// `settings` with the values that `overrides` has.
RouteSettings Apply(const RouteOverrides& overrides, RouteSettings settings);

// inproc, shm, unix, grpc
absl::string_view WordOf(TransportKind kind);
// block, fail, drop_newest, drop_oldest, latest, disconnect
absl::string_view WordOf(Overflow overflow);
// spin, adaptive, block
absl::string_view WordOf(WaitMode wait);
// exact, compatible
absl::string_view WordOf(SchemaPolicy policy);

// The enumerator that a word stands for, if it is known. "tcp" is another word
// for grpc.
std::optional<TransportKind> TransportKindOf(absl::string_view word);
std::optional<Overflow> OverflowOf(absl::string_view word);
std::optional<WaitMode> WaitModeOf(absl::string_view word);
std::optional<SchemaPolicy> SchemaPolicyOf(absl::string_view word);

// The known words, as error messages list them.
std::vector<absl::string_view> TransportWords();
std::vector<absl::string_view> OverflowWords();
std::vector<absl::string_view> WaitWords();
std::vector<absl::string_view> SchemaPolicyWords();

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_SETTINGS_H_
