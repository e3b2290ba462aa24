#ifndef TESTS_BENCHMARK_COMPARISON_H_
#define TESTS_BENCHMARK_COMPARISON_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/benchmark/statistics.h"
#include "tests/benchmark/system.h"

namespace mycelium::bench {

// How far apart the two CPUs are, as the hand-over floor shows it: virtual CPUs
// move between cores, and all traffic between them becomes faster or slower
// with the move.
enum class FloorClass { kNear, kFar };

inline constexpr double kFarFromNs = 130;

FloorClass ClassOf(double handover_ns);
absl::string_view Name(FloorClass floor_class);

// One line of the answer; the fields are those of the JSON. An empty field does
// not apply or could not be measured.
struct Row {
  std::string system;
  std::string variant;  // May be empty.
  Case what;
  std::optional<double> p50_ns;
  std::optional<double> p99_ns;
  std::optional<double> p999_ns;
  std::optional<double> max_ns;
  std::optional<double> msgs_per_s;
  std::string floor;  // Its name; empty if the case has none.
  std::optional<double> floor_ratio;
  std::optional<double> over_floor_ns;
  std::optional<double> allocations_per_msg;
  std::optional<double> syscalls_per_msg;
  std::optional<double> cpu_ns_per_msg;
  int rounds = 0;  // The figures are medians of so many rounds.
};

// What does not fit into a row: why rounds are missing.
struct Tally {
  int near_rounds = 0;
  int far_rounds = 0;
  // Rounds after which the class was another one; they are in neither count.
  int changed_rounds = 0;
  int dropped_runs = 0;  // Another process used a pinned CPU.
  // Every repetition of a run was disturbed, or a run or a probe had an error.
  int dropped_rounds = 0;
  int64_t late_wakes = 0;  // Of the runs that rows come from.
  std::vector<std::string> errors;
  std::vector<double> handover_ns;  // Every probe.
};

struct ComparisonOptions {
  CpuPair cpus;
  int rounds = 5;
  int repetitions_max = 3;  // Of a disturbed run.
  bool keep_disturbed = false;
};

// Measures candidates against floors in turns, so that both meet the same
// machine, and reduces each pair of runs to a difference and a ratio before
// anything is averaged. Rounds of different classes never meet in one figure.
//
// Thread safety: one thread, the only one of the process; see System.
class Comparison final {
 public:
  // Returns what a bare hand-over takes now, in nanoseconds.
  using Probe = std::function<absl::StatusOr<double>()>;

  // One candidate in a contest. `system` outlives the comparison.
  struct Entrant {
    System* system = nullptr;
    Case what;
  };

  Comparison(const ComparisonOptions& options, Probe probe);

  // Adds a floor and the entrants that are compared with it. The floor's system
  // may be null: then the entrants are measured without a floor.
  void AddContest(Entrant floor, std::vector<Entrant> candidates);

  // Runs all rounds of all contests, and tells `progress` of each round. An
  // error of an entrant is added to tally().errors and costs that round.
  void Run(const std::function<void(const std::string&)>& progress);

  // The class of most rounds.
  FloorClass main_class() const;

  // Floor first, then its candidates, contest by contest. A contest without a
  // round of `floor_class` has rows without figures.
  std::vector<Row> Rows(FloorClass floor_class) const;

  const Tally& tally() const { return tally_; }

 private:
  // What is kept of one run.
  struct Figures {
    std::optional<Percentiles> latency;
    bool has_tail = true;  // Whether a latency has more than its median.
    int64_t late_wakes = 0;
    std::optional<double> msgs_per_s;
    std::optional<double> allocations_per_msg;
    std::optional<double> syscalls_per_msg;
    std::optional<double> cpu_ns_per_msg;
  };
  // Entrant 0 is the floor; it has no figures if it has no system.
  using RoundFigures = std::vector<std::optional<Figures>>;
  struct Contest {
    std::vector<Entrant> entrants;
    std::map<FloorClass, std::vector<RoundFigures>> rounds;
  };

  static Figures Reduce(const Case& what, const RoundResult& result);
  static Row RowOf(const Contest& contest, size_t entrant,
                   const std::vector<RoundFigures>& rounds);

  void RunRound(Contest* contest);
  std::optional<Figures> RunEntrant(const Entrant& entrant);
  std::optional<FloorClass> ProbeClass();
  void RecordError(const std::string& where, const absl::Status& status);

  const ComparisonOptions options_;
  const Probe probe_;
  std::vector<Contest> contests_;
  Tally tally_;
};

// Whether other processes took so much of the CPUs that `result` says little.
bool Disturbed(const Case& what, const RoundResult& result);

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_COMPARISON_H_
