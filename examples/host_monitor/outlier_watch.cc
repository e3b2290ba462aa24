#include "examples/host_monitor/outlier_watch.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace host_monitor {
namespace {

// Makes the MAD of a normal distribution equal its standard deviation.
constexpr double kMadToScore = 0.6745;

// REQUIRES: `values` is not empty.
double Median(std::vector<double> values) {
  const auto middle = values.begin() + values.size() / 2;
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*std::max_element(values.begin(), middle) + *middle) / 2;
}

}  // namespace

std::optional<OutlierWatch::Outlier> OutlierWatch::Add(double value) {
  std::optional<Outlier> event;
  if (is_warm()) {
    const Outlier judged = Judge(value);
    const bool is_outlier = std::abs(judged.score) > options_.threshold;
    run_ = is_outlier ? run_ + 1 : 0;
    if (run_ == options_.run) event = judged;
  }
  values_.push_back(value);
  if (values_.size() > options_.window) values_.pop_front();
  return event;
}

OutlierWatch::Outlier OutlierWatch::Judge(double value) const {
  Outlier judged;
  if (values_.empty()) return judged;
  std::vector<double> values(values_.begin(), values_.end());
  judged.median = Median(values);
  for (double& each : values) each = std::abs(each - judged.median);
  const double mad = std::max(Median(std::move(values)), options_.mad_min);
  const double distance = value - judged.median;
  if (distance == 0) return judged;
  judged.score =
      mad > 0
          ? kMadToScore * distance / mad
          : std::copysign(std::numeric_limits<double>::infinity(), distance);
  return judged;
}

}  // namespace host_monitor
