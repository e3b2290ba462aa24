#include "examples/ml_pipeline/vibration.h"

#include <algorithm>
#include <cmath>

namespace ml_pipeline {
namespace {

constexpr double kTurn = 2 * 3.14159265358979323846;
constexpr double kBallsPerTurn = 3.58;
constexpr double kRingHz = 3000;
constexpr double kRingSeconds = 0.001;

}  // namespace

void Vibration::Measure(Window* window) {
  const Fault fault = static_cast<Fault>(random_() % kFaults);
  window->fault = static_cast<uint32_t>(fault);
  const double turns_per_second = Uniform(45, 55);
  const double begin = Uniform(0, 1);
  const double strength = Uniform(0.6, 1.4);
  const double once = fault == Fault::kUnbalance ? 1 + strength : 1;
  const double twice = fault == Fault::kMisalignment ? 0.3 + strength : 0.3;
  const double clicks = fault == Fault::kBearing ? strength : 0;
  std::normal_distribution<double> noise(0, 0.3);
  for (size_t i = 0; i < Window::kSamples; ++i) {
    const double turns = begin + turns_per_second * static_cast<double>(i) /
                                     Window::kSamplesPerSecond;
    // Since the last ball went over the flaw.
    const double balls = turns * kBallsPerTurn;
    const double seconds =
        (balls - std::floor(balls)) / (turns_per_second * kBallsPerTurn);
    window->samples[i] = static_cast<float>(
        once * std::sin(kTurn * turns) + twice * std::sin(2 * kTurn * turns) +
        clicks * std::exp(-seconds / kRingSeconds) *
            std::sin(kTurn * kRingHz * seconds) +
        noise(random_));
  }
}

}  // namespace ml_pipeline
