#ifndef TESTS_SOAK_SOAK_PAGE_H_
#define TESTS_SOAK_SOAK_PAGE_H_

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "tests/conformance/peer_page.h"

namespace mycelium::test {

// What the two sides of a soak tell the watching process.
struct SoakCounts {
  std::atomic<uint64_t> published;  // Publish() said OK.
  ReceivedIds received;
  // Written by the watching process: how often the publisher is to break its
  // connection.
  std::atomic<uint64_t> cuts_wanted;
  std::atomic<uint64_t> cuts;  // Those that it made: requests may merge.
  std::atomic<uint64_t> gone;  // Times that a side gave the other one up.
  std::atomic<uint64_t> reconnected;
  std::atomic<uint64_t> complaints;  // Connections lost without a cut.
  std::atomic<uint64_t> flushed;     // The publisher has none on its way.
  // The sums of both sides' reports, once each side is done.
  std::atomic<uint64_t> accepted;
  std::atomic<uint64_t> delivered;
  std::atomic<uint64_t> dropped;
  std::atomic<uint64_t> in_flight;
  std::atomic<uint64_t> sides_done;
  std::atomic<uint64_t> sides_failed;
};

// The counts at a path, mapped into each of the three processes.
class SoakPage final {
 public:
  explicit SoakPage(const std::string& path) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return;
    if (ftruncate(fd, sizeof(SoakCounts)) == 0) {
      void* memory = mmap(nullptr, sizeof(SoakCounts), PROT_READ | PROT_WRITE,
                          MAP_SHARED, fd, 0);
      if (memory != MAP_FAILED) counts_ = static_cast<SoakCounts*>(memory);
    }
    close(fd);
  }
  SoakPage(const SoakPage&) = delete;
  SoakPage& operator=(const SoakPage&) = delete;
  ~SoakPage() {
    if (counts_ != nullptr) munmap(counts_, sizeof(SoakCounts));
  }

  bool ok() const { return counts_ != nullptr; }
  SoakCounts& counts() { return *counts_; }

 private:
  SoakCounts* counts_ = nullptr;
};

}  // namespace mycelium::test

#endif  // TESTS_SOAK_SOAK_PAGE_H_
