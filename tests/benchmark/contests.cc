#include "tests/benchmark/contests.h"

#include <sched.h>

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace mycelium::bench {
namespace {

// At a rate that no floor keeps up with, a run would only measure how long the
// queue got.
constexpr double kOpenBytesPerSecondMax = 512 << 20;

// A slower soak counts as a hang.
constexpr int64_t kSoakPerMsMin = 50;
constexpr int64_t kSoakWarmUpMax = 100'000;

constexpr int64_t kRoundsMax = 1'000'000;
constexpr int64_t kMessagesMax = 1'000'000'000'000;
constexpr int64_t kMsMax = 24 * 60 * 60 * 1000;
constexpr int64_t kRingBytesMin = 4096;
constexpr int64_t kRingBytesMax = 1 << 30;
constexpr double kOpenRateMax = 1e9;

// A number, so that NaN is out of every range.
template <typename T>
absl::Status CheckRange(absl::string_view flag, T value, T min, T max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "--", flag, "=", value, " is not a number from ", min, " to ", max));
}

absl::Status CheckNumbers(const Request& request) {
  absl::Status status;
  status.Update(CheckRange<int64_t>("rounds", request.rounds, 1, kRoundsMax));
  status.Update(
      CheckRange<int64_t>("messages", request.messages, 0, kMessagesMax));
  status.Update(CheckRange<int64_t>("run_ms", request.run_ms, 1, kMsMax));
  status.Update(
      CheckRange<double>("open_rate", request.open_rate, 1, kOpenRateMax));
  status.Update(CheckRange<int64_t>("ring_bytes", request.ring_bytes,
                                    kRingBytesMin, kRingBytesMax));
  status.Update(
      CheckRange<int64_t>("deadline_ms", request.deadline_ms, 1, kMsMax));
  status.Update(CheckRange<int64_t>("soak", request.soak, 0, kMessagesMax));
  return status;
}

bool FloorsOnly(const Request& request) {
  return absl::c_linear_search(request.transports, "floor");
}

absl::StatusOr<Words> TransportsOf(const Request& request) {
  const Words all = {"inproc", "shm", "unix", "grpc"};
  for (const std::string& word : request.transports) {
    if (word == "floor" || absl::c_linear_search(all, word)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("unknown transport \"", word,
                     "\"; known: inproc, shm, unix, grpc, floor"));
  }
  return FloorsOnly(request) ? all : request.transports;
}

absl::StatusOr<size_t> ParseSize(const std::string& word) {
  size_t bytes;
  if (absl::SimpleAtoi(word, &bytes) && bytes >= kBytesMin &&
      bytes <= kBytesMax) {
    return bytes;
  }
  return absl::InvalidArgumentError(absl::StrCat("size \"", word,
                                                 "\" is not a number from ",
                                                 kBytesMin, " to ", kBytesMax));
}

// What `parse` makes of each word.
template <typename T>
absl::StatusOr<std::vector<T>> ParseEach(
    const Words& words, absl::StatusOr<T> (*parse)(absl::string_view)) {
  std::vector<T> values;
  for (const std::string& word : words) {
    absl::StatusOr<T> value = parse(word);
    if (!value.ok()) return value.status();
    values.push_back(*value);
  }
  return values;
}

void SetLength(const Request& request, Case* what) {
  what->rate_per_s =
      std::min(request.open_rate,
               kOpenBytesPerSecondMax / static_cast<double>(what->bytes));
  what->ring_bytes = static_cast<size_t>(request.ring_bytes);
  what->deadline_ms = request.deadline_ms;
  what->messages = request.messages;
  if (what->messages == 0) what->messages = MessagesFor(*what, request.run_ms);
  what->warm_up = what->messages / 10 + 10;
  if (request.soak == 0) return;
  what->messages = request.soak;
  what->warm_up = std::min(request.soak / 10 + 10, kSoakWarmUpMax);
  what->deadline_ms = std::max(what->deadline_ms, request.soak / kSoakPerMsMin);
}

absl::StatusOr<std::vector<Case>> CasesOf(const Request& request) {
  const absl::StatusOr<Words> transports = TransportsOf(request);
  if (!transports.ok()) return transports.status();
  const auto modes = ParseEach<Mode>(request.modes, ParseMode);
  if (!modes.ok()) return modes.status();
  const auto waits = ParseEach<Wait>(request.waits, ParseWait);
  if (!waits.ok()) return waits.status();
  std::vector<Case> cases;
  for (const std::string& transport : *transports) {
    for (const Mode mode : *modes) {
      if (request.soak > 0 && mode != Mode::kFlood) continue;
      for (const Wait wait : *waits) {
        for (const std::string& size : request.sizes) {
          const absl::StatusOr<size_t> bytes = ParseSize(size);
          if (!bytes.ok()) return bytes.status();
          Case what;
          what.transport = transport;
          what.mode = mode;
          what.wait = wait;
          what.bytes = *bytes;
          SetLength(request, &what);
          cases.push_back(what);
        }
      }
    }
  }
  return cases;
}

bool IsWanted(const Request& request, const System& candidate) {
  return !FloorsOnly(request) &&
         (request.variants.empty() ||
          absl::c_linear_search(request.variants, candidate.variant()));
}

Contest ContestOf(const Request& request, const Case& what,
                  const std::vector<Kind>& kinds, const Systems& floors,
                  const Systems& second_floors, const Systems& candidates) {
  Contest contest;
  contest.floor.what = what;
  for (const auto& floor : floors) {
    if (floor->Supports(what)) contest.floor.system = floor.get();
  }
  for (const auto& second : second_floors) {
    if (second->Supports(what)) {
      contest.candidates.push_back({second.get(), what});
    }
  }
  for (const Kind kind : kinds) {
    Case of_kind = what;
    of_kind.kind = kind;
    for (const auto& second : second_floors) {
      // Most second floors carry raw bytes, and are shown there once.
      if (second->Supports(what) || !second->Supports(of_kind)) continue;
      contest.candidates.push_back({second.get(), of_kind});
    }
    for (const auto& candidate : candidates) {
      if (!IsWanted(request, *candidate)) continue;
      if (!candidate->Supports(of_kind)) continue;
      contest.candidates.push_back({candidate.get(), of_kind});
    }
  }
  return contest;
}

// Each variant that is asked for is measured.
absl::Status CheckVariants(const Request& request,
                           const std::vector<Contest>& contests) {
  Words measured;
  for (const Contest& contest : contests) {
    for (const Comparison::Entrant& candidate : contest.candidates) {
      if (candidate.system->name() == "floor") continue;
      measured.push_back(candidate.system->variant());
    }
  }
  for (const std::string& variant : request.variants) {
    if (absl::c_linear_search(measured, variant)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("no candidate of what was asked for is of the variant \"",
                     variant, "\""));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Contest>> ContestsOf(const Request& request,
                                                const Systems& floors,
                                                const Systems& second_floors,
                                                const Systems& candidates) {
  if (absl::Status checked = CheckNumbers(request); !checked.ok()) {
    return checked;
  }
  const absl::StatusOr<std::vector<Case>> cases = CasesOf(request);
  if (!cases.ok()) return cases.status();
  const auto kinds = ParseEach<Kind>(request.kinds, ParseKind);
  if (!kinds.ok()) return kinds.status();
  std::vector<Contest> contests;
  for (const Case& what : *cases) {
    Contest contest =
        ContestOf(request, what, *kinds, floors, second_floors, candidates);
    if (contest.floor.system == nullptr && contest.candidates.empty()) continue;
    contests.push_back(std::move(contest));
  }
  if (absl::Status checked = CheckVariants(request, contests); !checked.ok()) {
    return checked;
  }
  if (contests.empty()) {
    return absl::InvalidArgumentError("no system supports what was asked for");
  }
  return contests;
}

absl::StatusOr<CpuPair> CpusOf(const Words& words,
                               const std::vector<int>& allowed) {
  std::vector<int> cpus = allowed;
  if (!words.empty()) {
    cpus.clear();
    for (const std::string& word : words) {
      int cpu;
      if (absl::SimpleAtoi(word, &cpu) && cpu >= 0 && cpu < CPU_SETSIZE) {
        cpus.push_back(cpu);
      }
    }
    if (words.size() != 2 || cpus.size() != 2 || cpus[0] == cpus[1]) {
      return absl::InvalidArgumentError("--cpus wants two different numbers");
    }
  }
  if (cpus.size() < 2) {
    return absl::FailedPreconditionError("this needs two CPUs");
  }
  return CpuPair{cpus[0], cpus[1]};
}

}  // namespace mycelium::bench
