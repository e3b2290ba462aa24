#include "tests/benchmark/case.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace mycelium::bench {
namespace {

constexpr int64_t kMessagesMin = 200;
constexpr int64_t kSamplesMax = 2'000'000;  // All of them are kept.

// Copies in and out of a warm cache, rounded.
double CopyNs(size_t bytes) { return static_cast<double>(bytes) / 5; }

double RoughCostNs(const Case& what) {
  const bool socket = what.transport == "unix" || what.transport == "grpc";
  switch (what.mode) {
    case Mode::kOpen:
      return 1e9 / std::max(what.rate_per_s, 1.0);
    case Mode::kFlood:
      // gRPC's own speed is a tenth of this, and ours is ten times it.
      if (what.transport == "grpc") return 1'000 + CopyNs(what.bytes);
      return std::max(socket ? 20.0 : 10.0, CopyNs(what.bytes));
    case Mode::kWake:
      return socket ? 1'200'000 : 80'000;
    case Mode::kLatency:
      break;
  }
  double one_way_ns = CopyNs(what.bytes) + (socket ? 3'000 : 200);
  if (what.wait == Wait::kBlock) one_way_ns += 12'000;
  return 2 * one_way_ns;
}

absl::Status UnknownWord(absl::string_view what, absl::string_view word,
                         absl::string_view known) {
  return absl::InvalidArgumentError(
      absl::StrCat("unknown ", what, " \"", word, "\"; known: ", known));
}

}  // namespace

absl::string_view Name(Kind kind) {
  switch (kind) {
    case Kind::kRaw:
      return "raw";
    case Kind::kProtobuf:
      return "protobuf";
    case Kind::kLoan:
      return "loan";
  }
  return "?";
}

absl::string_view Name(Mode mode) {
  switch (mode) {
    case Mode::kLatency:
      return "latency";
    case Mode::kOpen:
      return "open";
    case Mode::kWake:
      return "wake";
    case Mode::kFlood:
      break;
  }
  return "flood";
}

absl::string_view Name(Wait wait) {
  switch (wait) {
    case Wait::kSpin:
      return "spin";
    case Wait::kBlock:
      return "block";
    case Wait::kAdaptive:
      break;
  }
  return "adaptive";
}

absl::StatusOr<Mode> ParseMode(absl::string_view name) {
  for (Mode mode : {Mode::kLatency, Mode::kOpen, Mode::kFlood, Mode::kWake}) {
    if (name == Name(mode)) return mode;
  }
  return UnknownWord("mode", name, "latency, open, flood, wake");
}

absl::StatusOr<Wait> ParseWait(absl::string_view name) {
  for (Wait wait : {Wait::kSpin, Wait::kBlock, Wait::kAdaptive}) {
    if (name == Name(wait)) return wait;
  }
  return UnknownWord("wait", name, "spin, block, adaptive");
}

absl::StatusOr<Kind> ParseKind(absl::string_view name) {
  for (Kind kind : {Kind::kRaw, Kind::kProtobuf, Kind::kLoan}) {
    if (name == Name(kind)) return kind;
  }
  return UnknownWord("kind", name, "raw, protobuf, loan");
}

std::string Describe(const Case& what) {
  return absl::StrCat(what.transport, " ", Name(what.kind), " ",
                      Name(what.mode), " ", Name(what.wait), " ", what.bytes,
                      " B");
}

int64_t MessagesFor(const Case& what, int64_t budget_ms) {
  const auto messages = static_cast<int64_t>(static_cast<double>(budget_ms) *
                                             1e6 / RoughCostNs(what));
  if (what.mode == Mode::kFlood) return std::max(messages, kMessagesMin);
  return std::clamp(messages, kMessagesMin, kSamplesMax);
}

}  // namespace mycelium::bench
