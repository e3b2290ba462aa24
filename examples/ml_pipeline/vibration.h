#ifndef EXAMPLES_ML_PIPELINE_VIBRATION_H_
#define EXAMPLES_ML_PIPELINE_VIBRATION_H_

#include <cstddef>
#include <cstdint>
#include <random>

namespace ml_pipeline {

// What a sensor on a machine with a shaft measures in an eighth of a second, in
// the form in which it is sent: windows.py describes the same bytes to numpy.
struct Window {
  static constexpr size_t kSamples = 1024;
  static constexpr double kSamplesPerSecond = 8192;

  uint64_t id = 0;
  uint32_t fault =
      0;  // An enumerator of Fault: the truth, which the source knows.
  uint32_t unused = 0;
  float samples[kSamples] = {};
};
static_assert(sizeof(Window) == 16 + 4 * Window::kSamples);

enum class Fault : uint32_t {
  kNone,
  kUnbalance,     // Shakes once a turn.
  kMisalignment,  // Shakes twice a turn.
  kBearing,       // A click at each ball, ringing at 3 kHz.
};
inline constexpr uint32_t kFaults = 4;

// Makes windows of such a machine, with the faults in random order.
//
// Thread safety: none.
class Vibration final {
 public:
  // The same seed makes the same windows.
  explicit Vibration(uint32_t seed) : random_(seed) {}

  // Fills `window` except its id.
  void Measure(Window* window);

 private:
  double Uniform(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random_);
  }

  std::mt19937 random_;
};

}  // namespace ml_pipeline

#endif  // EXAMPLES_ML_PIPELINE_VIBRATION_H_
