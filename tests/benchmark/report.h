#ifndef TESTS_BENCHMARK_REPORT_H_
#define TESTS_BENCHMARK_REPORT_H_

#include <string>
#include <vector>

#include "tests/benchmark/comparison.h"
#include "tests/benchmark/machine.h"

namespace mycelium::bench {

// The answer of one benchmark run, ready to be written.
struct Report {
  Machine machine;
  CpuPair cpus;
  FloorClass floor_class = FloorClass::kNear;
  Tally tally;
  std::vector<Row> rows;              // Of floor_class.
  std::vector<Row> other_class_rows;  // Of the other; only those with rounds.
  // Rows of which no round of either class counted, in words.
  std::vector<std::string> missing;

  // Whether all went well and each row has figures.
  bool is_complete() const { return tally.errors.empty() && missing.empty(); }
};

Report MakeReport(const Machine& machine, const CpuPair& cpus,
                  const Comparison& comparison);

// For programs: one line. docs/benchmarks.md has its fields.
std::string ToJson(const Report& report);

// For people: a line for the machine, then a table with the floor above the
// candidates that are compared with it, then what was left out and why, and
// the rows that are missing.
std::string ToText(const Report& report);

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_REPORT_H_
