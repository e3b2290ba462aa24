#include "mycelium/topology/settings.h"

#include <cstddef>

namespace mycelium {
namespace {

template <typename Enum>
struct Word {
  Enum value;
  absl::string_view text;
};

constexpr Word<TransportKind> kTransports[] = {
    {TransportKind::kInproc, "inproc"}, {TransportKind::kShm, "shm"},
    {TransportKind::kUnix, "unix"},     {TransportKind::kGrpc, "grpc"},
    {TransportKind::kGrpc, "tcp"},
};
constexpr Word<Overflow> kOverflows[] = {
    {Overflow::kBlock, "block"},
    {Overflow::kFail, "fail"},
    {Overflow::kDropNewest, "drop_newest"},
    {Overflow::kDropOldest, "drop_oldest"},
    {Overflow::kLatest, "latest"},
    {Overflow::kDisconnect, "disconnect"},
};
constexpr Word<WaitMode> kWaits[] = {
    {WaitMode::kSpin, "spin"},
    {WaitMode::kAdaptive, "adaptive"},
    {WaitMode::kBlock, "block"},
};
constexpr Word<SchemaPolicy> kSchemaPolicies[] = {
    {SchemaPolicy::kExact, "exact"},
    {SchemaPolicy::kCompatible, "compatible"},
};

template <typename Enum, size_t N>
absl::string_view TextOf(const Word<Enum> (&words)[N], Enum value) {
  for (const Word<Enum>& word : words) {
    if (word.value == value) return word.text;
  }
  return "?";  // Not an enumerator.
}

template <typename Enum, size_t N>
std::optional<Enum> ValueOf(const Word<Enum> (&words)[N],
                            absl::string_view text) {
  for (const Word<Enum>& word : words) {
    if (word.text == text) return word.value;
  }
  return std::nullopt;
}

template <typename Enum, size_t N>
std::vector<absl::string_view> TextsOf(const Word<Enum> (&words)[N]) {
  std::vector<absl::string_view> texts;
  for (const Word<Enum>& word : words) texts.push_back(word.text);
  return texts;
}

template <typename T>
void Override(const std::optional<T>& from, T& to) {
  if (from.has_value()) to = *from;
}

}  // namespace

std::vector<TlsFault> FaultsOf(const Tls& tls) {
  std::vector<TlsFault> faults;
  if (tls.certificate.empty() != tls.key.empty()) {
    faults.push_back({"", tls.key.empty() ? "certificate without key"
                                          : "key without certificate"});
  }
  if (tls.require_client_certificate && tls.ca.empty()) {
    faults.push_back({"require_client_certificate",
                      "require_client_certificate without ca; there is "
                      "nothing to check a certificate with"});
  }
  return faults;
}

RouteSettings Apply(const RouteOverrides& overrides, RouteSettings settings) {
  Override(overrides.overflow, settings.overflow);
  Override(overrides.depth, settings.depth);
  Override(overrides.window, settings.window);
  Override(overrides.lane_bytes, settings.lane_bytes);
  Override(overrides.publish_timeout, settings.publish_timeout);
  Override(overrides.retain, settings.retain);
  Override(overrides.wait, settings.wait);
  Override(overrides.spin, settings.spin);
  return settings;
}

absl::string_view WordOf(TransportKind kind) {
  return TextOf(kTransports, kind);
}
absl::string_view WordOf(Overflow overflow) {
  return TextOf(kOverflows, overflow);
}
absl::string_view WordOf(WaitMode wait) { return TextOf(kWaits, wait); }
absl::string_view WordOf(SchemaPolicy policy) {
  return TextOf(kSchemaPolicies, policy);
}

std::optional<TransportKind> TransportKindOf(absl::string_view word) {
  return ValueOf(kTransports, word);
}
std::optional<Overflow> OverflowOf(absl::string_view word) {
  return ValueOf(kOverflows, word);
}
std::optional<WaitMode> WaitModeOf(absl::string_view word) {
  return ValueOf(kWaits, word);
}
std::optional<SchemaPolicy> SchemaPolicyOf(absl::string_view word) {
  return ValueOf(kSchemaPolicies, word);
}

std::vector<absl::string_view> TransportWords() { return TextsOf(kTransports); }
std::vector<absl::string_view> OverflowWords() { return TextsOf(kOverflows); }
std::vector<absl::string_view> WaitWords() { return TextsOf(kWaits); }
std::vector<absl::string_view> SchemaPolicyWords() {
  return TextsOf(kSchemaPolicies);
}

}  // namespace mycelium
