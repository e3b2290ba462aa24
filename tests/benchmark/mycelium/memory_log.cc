#include "tests/benchmark/mycelium/memory_log.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace mycelium::bench {
namespace {

int64_t ResidentKiB() {
  std::FILE* const file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return -1;
  long long total_pages = 0;
  long long resident_pages = -1;
  const int fields =
      std::fscanf(file, "%lld %lld", &total_pages, &resident_pages);
  std::fclose(file);
  return fields == 2 ? resident_pages * (sysconf(_SC_PAGESIZE) / 1024) : -1;
}

}  // namespace

void MemoryLog::Print() {
  std::printf("%-10s %12lld messages %10lld KiB resident\n", side_,
              static_cast<long long>(next_),
              static_cast<long long>(ResidentKiB()));
  const int64_t step = std::max<int64_t>(messages_ / kSteps, 1);
  // The last step is the last message; messages are counted from zero.
  const int64_t last = messages_ - 1;
  next_ = next_ < last ? std::min(next_ + step, last) : kNever;
}

}  // namespace mycelium::bench
