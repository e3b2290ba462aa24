#ifndef EXAMPLES_HOST_MONITOR_OUTLIER_WATCH_H_
#define EXAMPLES_HOST_MONITOR_OUTLIER_WATCH_H_

#include <cstddef>
#include <deque>
#include <optional>

namespace host_monitor {

// Watches one figure and reports when it leaves its recent range.
//
// The measure is the modified z-score of a value among those of a window before
// it: 0.6745 (value - median) / MAD, where MAD is the median of the absolute
// deviations from the median. Beyond 3.5 a value counts as an outlier. Unlike
// mean and standard deviation, medians are not moved by the outliers
// themselves, so a burst does not hide the next one. Where the level changes
// for good, it is the usual one after half a window.
//   B. Iglewicz, D. Hoaglin: How to Detect and Handle Outliers. ASQC Quality
//   Press, 1993. Also in the NIST/SEMATECH e-Handbook of Statistical Methods,
//   1.3.5.17.
//
// One outlier is no event yet. `run` outliers in a row are one event, and there
// is no further event until a value is back within the bounds.
//
// Cost: sorts the window for every value.
//
// Thread safety: none.
//
// Example:
//   OutlierWatch watch(OutlierWatch::Options{});
//   if (std::optional<OutlierWatch::Outlier> found = watch.Add(load)) {
//     std::cout << load << " instead of " << found->median << "\n";
//   }
class OutlierWatch final {
 public:
  struct Options {
    size_t window = 60;      // Values that it compares with; at least 2.
    size_t warm_up = 20;     // Values that it needs before it judges one.
    double threshold = 3.5;  // Of the score's absolute value.
    size_t run = 3;          // Outliers in a row that make an event.
    // A smaller MAD counts as this one: it leaves some room for a figure that
    // usually stands still.
    double mad_min = 0;
  };
  struct Outlier {
    double median = 0;
    double score = 0;  // Negative: below the median.
  };

  explicit OutlierWatch(const Options& options) : options_(options) {}

  // Takes the next value; returns its median and score if it makes an event.
  std::optional<Outlier> Add(double value);

  // Whether it has enough values to judge the next one.
  bool is_warm() const { return values_.size() >= options_.warm_up; }

  // How far `value` is from the values in the window. Infinite if more than
  // half of them are equal, `mad_min` is 0, and `value` differs from those.
  Outlier Judge(double value) const;

 private:
  const Options options_;
  std::deque<double> values_;
  size_t run_ = 0;  // Outliers in a row up to now.
};

}  // namespace host_monitor

#endif  // EXAMPLES_HOST_MONITOR_OUTLIER_WATCH_H_
