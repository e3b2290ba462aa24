#include "tests/benchmark/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace mycelium::bench {

int64_t Percentile(const std::vector<int64_t>& sorted, double fraction) {
  const double count = static_cast<double>(sorted.size());
  // Without the slack, 0.999 * 1000 rounds up to rank 1000.
  const double rank = std::ceil(fraction * count - 1e-6);
  const double index = std::clamp(rank - 1, 0.0, count - 1);
  return sorted[static_cast<size_t>(index)];
}

Percentiles PercentilesOf(std::vector<int64_t> samples) {
  std::sort(samples.begin(), samples.end());
  Percentiles result;
  result.p50 = Percentile(samples, 0.5);
  result.p99 = Percentile(samples, 0.99);
  result.p999 = Percentile(samples, 0.999);
  result.max = samples.back();
  return result;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  if (values.size() % 2 == 1) return values[middle];
  return (values[middle - 1] + values[middle]) / 2;
}

}  // namespace mycelium::bench
