#ifndef TESTS_BENCHMARK_STATISTICS_H_
#define TESTS_BENCHMARK_STATISTICS_H_

#include <cstdint>
#include <vector>

namespace mycelium::bench {

// The order statistics of one run.
struct Percentiles {
  int64_t p50 = 0;
  int64_t p99 = 0;
  int64_t p999 = 0;
  int64_t max = 0;
};

// The smallest sample that at least `fraction` of `sorted` does not exceed (the
// nearest rank: always a value that was really measured).
// REQUIRES: `sorted` is ascending and not empty, 0 <= fraction <= 1.
int64_t Percentile(const std::vector<int64_t>& sorted, double fraction);

// REQUIRES: `samples` is not empty.
Percentiles PercentilesOf(std::vector<int64_t> samples);

// The middle value, or the mean of the two in the middle.
// REQUIRES: `values` is not empty.
double Median(std::vector<double> values);

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_STATISTICS_H_
