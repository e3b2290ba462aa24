// Runs simulated worlds, one for each seed:
//   simulate --seed=N [--verbose]    one; prints every event
//   simulate --seeds=A-B             many; prints the summary of those that
//   fail
//   --stop                           after the first seed that fails
//   --planted_bug=N                  see mycelium/base/planted_bug.h; REQUIRES
//   a
//                                    build that has them
//   --repeat                         each twice, and compares the traces
//   --summaries                      prints every summary
// Ends with 1 if a law was broken, 2 if the arguments make no sense.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mycelium/base/planted_bug.h"
#include "mycelium/topology/settings.h"
#include "tests/simulation/scenario.h"
#include "tests/simulation/simulation.h"

namespace mycelium::test {
namespace {

struct Arguments {
  uint64_t first = 1;
  uint64_t last = 1;
  bool verbose = false;
  bool repeat = false;
  bool summaries = false;
  bool stop = false;
  int planted_bug = 0;
};

bool Parse(int argc, char** argv, Arguments* arguments) {
  for (int i = 1; i < argc; ++i) {
    absl::string_view text = argv[i];
    if (absl::ConsumePrefix(&text, "--seed=")) {
      if (!absl::SimpleAtoi(text, &arguments->first)) return false;
      arguments->last = arguments->first;
    } else if (absl::ConsumePrefix(&text, "--seeds=")) {
      const std::pair<std::string, std::string> ends =
          absl::StrSplit(text, absl::MaxSplits('-', 1));
      if (!absl::SimpleAtoi(ends.first, &arguments->first) ||
          !absl::SimpleAtoi(ends.second, &arguments->last)) {
        return false;
      }
    } else if (text == "--verbose") {
      arguments->verbose = true;
    } else if (text == "--repeat") {
      arguments->repeat = true;
    } else if (text == "--summaries") {
      arguments->summaries = true;
    } else if (text == "--stop") {
      arguments->stop = true;
    } else if (absl::ConsumePrefix(&text, "--planted_bug=")) {
      if (!absl::SimpleAtoi(text, &arguments->planted_bug)) return false;
    } else {
      return false;
    }
  }
  return arguments->first <= arguments->last;
}

void Print(const std::string& text) { std::printf("%s\n", text.c_str()); }

bool RunSeed(uint64_t seed, const Arguments& arguments,
             SimulationResult* total) {
  const SimulationResult result = Simulate(seed, arguments.verbose);
  bool ok = result.ok();
  if (!ok || arguments.summaries || arguments.first == arguments.last) {
    Print(Describe(result));
  }
  if (arguments.repeat) {
    const SimulationResult again = Simulate(seed, false);
    if (again.hash != result.hash || again.events != result.events) {
      ok = false;
      Print("seed " + std::to_string(seed) + ": two runs differ\n" +
            Describe(again));
    }
  }
  if (result.happenings < kEventsMin) {
    ok = false;
    Print("seed " + std::to_string(seed) + ": too few events");
  }
  if (!ok) {
    Print("replay: bazel run //tests/simulation:simulate -- --seed=" +
          std::to_string(seed) + " --verbose");
  }
  for (size_t i = 0; i < Trace::kKinds; ++i) {
    total->counts[i] += result.counts[i];
  }
  for (const auto& [policy, subscriptions] : result.policies) {
    total->policies[policy] += subscriptions;
  }
  total->happenings += result.happenings;
  total->flows += result.flows;
  total->strict_flows += result.strict_flows;
  total->longest_stand_ms =
      std::max(total->longest_stand_ms, result.longest_stand_ms);
  return ok;
}

int Main(int argc, char** argv) {
  Arguments arguments;
  if (!Parse(argc, argv, &arguments)) {
    std::fprintf(stderr,
                 "usage: simulate [--seed=N | --seeds=A-B] [--verbose] "
                 "[--repeat] [--summaries] [--stop] [--planted_bug=N]\n");
    return 2;
  }
#ifdef MYCELIUM_PLANTED_BUGS
  planted_bug = arguments.planted_bug;
#else
  if (arguments.planted_bug != 0) {
    std::fprintf(stderr, "this build has no planted bugs\n");
    return 2;
  }
#endif
  const auto start = std::chrono::steady_clock::now();
  SimulationResult total;
  uint64_t failed = 0;
  for (uint64_t seed = arguments.first; seed <= arguments.last; ++seed) {
    if (!RunSeed(seed, arguments, &total)) {
      ++failed;
      if (arguments.stop) return 1;
    }
    std::fflush(stdout);
  }
  const uint64_t seeds = arguments.last - arguments.first + 1;
  const std::chrono::duration<double, std::milli> took =
      std::chrono::steady_clock::now() - start;
  Print(absl::StrCat(seeds, " seeds, ", failed, " failed, ", total.happenings,
                     " events, flows ", total.flows, ", without loss ",
                     total.strict_flows, ", stood at most ",
                     total.longest_stand_ms, " ms, ",
                     took.count() / static_cast<double>(seeds), " ms a seed"));
  bool complete = true;
  for (const Happening kind : FaultKinds()) {
    const uint64_t count = total.counts[static_cast<size_t>(kind)];
    Print(absl::StrCat("  ", WordOf(kind), ": ", count));
    if (count == 0) complete = false;
  }
  for (const Overflow policy : SimulatedPolicies()) {
    const uint64_t count = total.policies[policy];
    if (count == 0) complete = false;
  }
  for (const auto& [policy, count] : total.policies) {
    Print(absl::StrCat("  of ", WordOf(policy), ": ", count));
  }
  // Where nodes part, the laws say less.
  if (total.strict_flows * 5 < total.flows && seeds >= 100) {
    Print("less than a fifth of the flows are between nodes that never parted");
    return 1;
  }
  if (!complete && seeds >= 100) {
    Print("some kind of fault, or some policy, never came up");
    return 1;
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace mycelium::test

int main(int argc, char** argv) { return mycelium::test::Main(argc, argv); }
