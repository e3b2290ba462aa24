#include "tests/benchmark/comparison.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mycelium::bench {
namespace {

// Collects one figure of several rounds.
class Series final {
 public:
  void Add(std::optional<double> value) {
    if (value.has_value()) values_.push_back(*value);
  }
  std::optional<double> MedianValue() const {
    if (values_.empty()) return std::nullopt;
    return Median(values_);
  }
  std::optional<double> MaxValue() const {
    if (values_.empty()) return std::nullopt;
    return *std::max_element(values_.begin(), values_.end());
  }

 private:
  std::vector<double> values_;
};

std::optional<double> PerMessage(std::optional<int64_t> total,
                                 int64_t messages) {
  if (!total.has_value() || messages <= 0) return std::nullopt;
  return static_cast<double>(*total) / static_cast<double>(messages);
}

}  // namespace

FloorClass ClassOf(double handover_ns) {
  return handover_ns < kFarFromNs ? FloorClass::kNear : FloorClass::kFar;
}

absl::string_view Name(FloorClass floor_class) {
  return floor_class == FloorClass::kNear ? "near" : "far";
}

bool Disturbed(const Case& what, const RoundResult& result) {
  // At each wake-up, a side that sleeps waits a little for its CPU. The kernel
  // does its work for TCP in interrupts, and counts that for no process.
  const double share = what.wait == Wait::kSpin   ? 0.02
                       : what.transport == "grpc" ? 0.40
                                                  : 0.10;
  constexpr double kAlwaysAllowedNs = 100'000;
  const double allowed_ns = std::max(
      kAlwaysAllowedNs, share * static_cast<double>(result.elapsed_ns));
  return static_cast<double>(result.foreign_ns) > allowed_ns;
}

Comparison::Comparison(const ComparisonOptions& options, Probe probe)
    : options_(options), probe_(std::move(probe)) {}

void Comparison::AddContest(Entrant floor, std::vector<Entrant> candidates) {
  Contest contest;
  contest.entrants.push_back(std::move(floor));
  for (Entrant& candidate : candidates) {
    contest.entrants.push_back(std::move(candidate));
  }
  contests_.push_back(std::move(contest));
}

void Comparison::Run(const std::function<void(const std::string&)>& progress) {
  for (int round = 1; round <= options_.rounds; ++round) {
    for (Contest& contest : contests_) {
      progress(absl::StrCat("round ", round, "/", options_.rounds, ": ",
                            Describe(contest.entrants.front().what)));
      RunRound(&contest);
    }
  }
}

void Comparison::RunRound(Contest* contest) {
  const std::optional<FloorClass> before = ProbeClass();
  RoundFigures figures;
  bool complete = before.has_value();
  for (const Entrant& entrant : contest->entrants) {
    figures.emplace_back();
    if (entrant.system == nullptr) continue;
    figures.back() = RunEntrant(entrant);
    complete = complete && figures.back().has_value();
  }
  const std::optional<FloorClass> after = ProbeClass();
  if (!complete || !after.has_value()) {
    ++tally_.dropped_rounds;
  } else if (before != after) {
    ++tally_.changed_rounds;
  } else {
    ++(*after == FloorClass::kNear ? tally_.near_rounds : tally_.far_rounds);
    for (const std::optional<Figures>& of_one : figures) {
      if (of_one.has_value()) tally_.late_wakes += of_one->late_wakes;
    }
    contest->rounds[*after].push_back(std::move(figures));
  }
}

std::optional<Comparison::Figures> Comparison::RunEntrant(
    const Entrant& entrant) {
  for (int attempt = 0; attempt <= options_.repetitions_max; ++attempt) {
    const absl::StatusOr<RoundResult> result =
        entrant.system->Run(entrant.what, options_.cpus);
    if (!result.ok()) {
      RecordError(
          absl::StrCat(entrant.system->name(), " ", entrant.system->variant(),
                       " ", Describe(entrant.what)),
          result.status());
      return std::nullopt;
    }
    if (options_.keep_disturbed || !Disturbed(entrant.what, *result)) {
      return Reduce(entrant.what, *result);
    }
    ++tally_.dropped_runs;
  }
  return std::nullopt;
}

std::optional<FloorClass> Comparison::ProbeClass() {
  const absl::StatusOr<double> handover_ns = probe_();
  if (!handover_ns.ok()) {
    RecordError("hand-over probe", handover_ns.status());
    return std::nullopt;
  }
  tally_.handover_ns.push_back(*handover_ns);
  return ClassOf(*handover_ns);
}

void Comparison::RecordError(const std::string& where,
                             const absl::Status& status) {
  tally_.errors.push_back(absl::StrCat(where, ": ", status.ToString()));
}

Comparison::Figures Comparison::Reduce(const Case& what,
                                       const RoundResult& result) {
  Figures figures;
  figures.late_wakes = result.late_wakes;
  if (!result.latencies_ns.empty()) {
    figures.latency = PercentilesOf(result.latencies_ns);
    figures.has_tail = result.messages_per_sample == 1;
  }
  const bool paced = what.mode == Mode::kOpen || what.mode == Mode::kWake;
  if (what.mode != Mode::kLatency && what.mode != Mode::kWake &&
      result.elapsed_ns > 0) {
    figures.msgs_per_s = static_cast<double>(result.messages) * 1e9 /
                         static_cast<double>(result.elapsed_ns);
  }
  figures.allocations_per_msg = PerMessage(result.allocations, result.messages);
  figures.syscalls_per_msg = PerMessage(result.syscalls, result.messages);
  // A paced side polls the clock between messages, so its CPU time says nothing
  // about a message.
  if (!paced) {
    figures.cpu_ns_per_msg = PerMessage(result.cpu_ns, result.messages);
  }
  return figures;
}

Row Comparison::RowOf(const Contest& contest, size_t entrant,
                      const std::vector<RoundFigures>& rounds) {
  Series p50, p99, p999, max, rate, ratio, over, allocations, syscalls, cpu;
  for (const RoundFigures& round : rounds) {
    const Figures& own = *round[entrant];
    rate.Add(own.msgs_per_s);
    allocations.Add(own.allocations_per_msg);
    syscalls.Add(own.syscalls_per_msg);
    cpu.Add(own.cpu_ns_per_msg);
    if (own.latency.has_value()) {
      p50.Add(own.latency->p50);
    }
    if (own.latency.has_value() && own.has_tail) {
      p99.Add(own.latency->p99);
      p999.Add(own.latency->p999);
      max.Add(own.latency->max);
    }
    if (entrant == 0 || !round[0].has_value()) continue;
    const Figures& floor = *round[0];
    if (own.latency.has_value() && floor.latency.has_value()) {
      const double floor_p50 = static_cast<double>(floor.latency->p50);
      over.Add(static_cast<double>(own.latency->p50) - floor_p50);
      if (floor_p50 > 0) ratio.Add(own.latency->p50 / floor_p50);
    } else if (own.msgs_per_s.has_value() && floor.msgs_per_s.has_value()) {
      ratio.Add(*own.msgs_per_s / *floor.msgs_per_s);
    }
  }
  Row row;
  row.p50_ns = p50.MedianValue();
  row.p99_ns = p99.MedianValue();
  row.p999_ns = p999.MedianValue();
  row.max_ns = max.MaxValue();
  row.msgs_per_s = rate.MedianValue();
  row.floor_ratio = ratio.MedianValue();
  row.over_floor_ns = over.MedianValue();
  row.allocations_per_msg = allocations.MedianValue();
  row.syscalls_per_msg = syscalls.MedianValue();
  row.cpu_ns_per_msg = cpu.MedianValue();
  row.rounds = static_cast<int>(rounds.size());
  row.system = contest.entrants[entrant].system->name();
  row.variant = contest.entrants[entrant].system->variant();
  row.what = contest.entrants[entrant].what;
  const System* floor = contest.entrants.front().system;
  if (floor != nullptr) row.floor = floor->variant();
  return row;
}

FloorClass Comparison::main_class() const {
  return tally_.far_rounds > tally_.near_rounds ? FloorClass::kFar
                                                : FloorClass::kNear;
}

std::vector<Row> Comparison::Rows(FloorClass floor_class) const {
  std::vector<Row> rows;
  for (const Contest& contest : contests_) {
    const auto found = contest.rounds.find(floor_class);
    for (size_t i = 0; i < contest.entrants.size(); ++i) {
      if (contest.entrants[i].system == nullptr) continue;
      rows.push_back(RowOf(contest, i,
                           found == contest.rounds.end()
                               ? std::vector<RoundFigures>()
                               : found->second));
    }
  }
  return rows;
}

}  // namespace mycelium::bench
