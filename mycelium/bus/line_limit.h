#ifndef MYCELIUM_BUS_LINE_LIMIT_H_
#define MYCELIUM_BUS_LINE_LIMIT_H_

#include <cstdint>
#include <utility>

#include "mycelium/base/clock.h"

namespace mycelium {

// Bounds how many log lines there are about what peers may do as often as they
// like.
//
// Thread safety: none.
class LineLimit final {
 public:
  static constexpr int64_t kPeriodNs = 1'000'000'000;

  explicit LineLimit(int lines_max) : lines_max_(lines_max) {}  // In a period.

  // Whether a line may be written now. If so, `*left_out` is how many were left
  // out since the last one that was allowed.
  bool Allows(TimeNs now, uint64_t* left_out) {
    if (now >= period_end_) {
      period_end_ = now + kPeriodNs;
      lines_ = 0;
    }
    if (lines_ >= lines_max_) {
      ++left_out_;
      return false;
    }
    ++lines_;
    *left_out = std::exchange(left_out_, 0);
    return true;
  }

 private:
  const int lines_max_;
  TimeNs period_end_ = 0;
  int lines_ = 0;
  uint64_t left_out_ = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_LINE_LIMIT_H_
