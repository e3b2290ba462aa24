#ifndef TESTS_BENCHMARK_MACHINE_H_
#define TESTS_BENCHMARK_MACHINE_H_

#include <string>
#include <vector>

namespace mycelium::bench {

// What the figures were measured on, as far as the system tells.
struct Machine {
  std::string cpu_model;
  std::string kernel;
  std::vector<int> cpus_allowed;  // That this process may run on.
};

Machine ThisMachine();

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_MACHINE_H_
