#ifndef TESTS_CONFORMANCE_PEER_PAGE_H_
#define TESTS_CONFORMANCE_PEER_PAGE_H_

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <string>

namespace mycelium::test {

// The ids that arrived from one run of a publisher, which sends 1, 2, 3, …
struct ReceivedIds {
  std::atomic<uint64_t> first;
  std::atomic<uint64_t> last;
  std::atomic<uint64_t> count;
  std::atomic<uint64_t> gaps;        // Ids that were skipped over.
  std::atomic<uint64_t> first_gap;   // The id before it; 0: none. May be reset.
  std::atomic<uint64_t> unbroken;    // The id since which there is none.
  std::atomic<uint64_t> duplicates;  // Ids no higher than one before.
  std::atomic<uint64_t> torn;        // With contents that are another one's.

  void Record(uint64_t id) {
    const uint64_t before = last;
    if (count == 0) {
      first = id;
      unbroken = id;
    } else if (id <= before) {
      ++duplicates;
      return;
    } else if (id > before + 1) {
      gaps += id - before - 1;
      if (first_gap == 0) first_gap = before;
      unbroken = id;
    }
    last = id;
    ++count;
  }
};

// The value of all bytes of that message's blob.
inline char BlobFillOf(uint64_t id) { return static_cast<char>('a' + id % 26); }

// Publishes for which a lane had no room, by the reason that was given.
struct RefusedByLane {
  std::atomic<uint64_t> at_once;  // Its overflow is fail.
  std::atomic<uint64_t> waited;   // In vain, or not again after that.
  std::atomic<uint64_t> away;     // Its subscriber is out of reach.
};

// The counts of a peer process, in a file that outlives it.
struct PeerCounts {
  static constexpr uint64_t kRunsMax = 8;
  std::atomic<uint64_t> accepted;  // Raised right after Publish() said OK.
  std::atomic<uint64_t> accepted_by[kRunsMax];  // The same, by run.
  std::atomic<uint64_t> called_by[kRunsMax];    // Raised right before it.
  std::atomic<uint64_t> lent;          // Of them, loans that all read in place.
  std::atomic<uint64_t> calls;         // Of Publish(), that have returned.
  RefusedByLane refused;               // Of them, by the lane to --watch.
  ReceivedIds received[kRunsMax];      // By the publisher's run.
  ReceivedIds by_place[kRunsMax];      // By the subscription's place here.
  std::atomic<uint64_t> redelivered;   // Of all that were received.
  std::atomic<uint64_t> lost;          // As the messages said.
  std::atomic<uint64_t> with_unknown;  // Received with fields unknown here.
  std::atomic<uint64_t> with_next;     // With the next version's fields read.
  std::atomic<uint64_t> ends;          // Errors that ended a subscription.
  std::atomic<uint64_t> at_end;        // Of all received, those before that.
  std::atomic<uint64_t> disconnected;  // Connections that were lost.
  std::atomic<uint64_t> corrupt;       // Of them, by DATA_LOSS found here.
};

// Maps the counts at a path; creates the file with zeroes if there is none.
//
// Thread safety: the counts are atomic, with one writer each.
class PeerPage final {
 public:
  explicit PeerPage(const std::string& path) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return;
    if (ftruncate(fd, sizeof(PeerCounts)) == 0) {
      void* memory = mmap(nullptr, sizeof(PeerCounts), PROT_READ | PROT_WRITE,
                          MAP_SHARED, fd, 0);
      if (memory != MAP_FAILED) counts_ = static_cast<PeerCounts*>(memory);
    }
    close(fd);
  }
  PeerPage(const PeerPage&) = delete;
  PeerPage& operator=(const PeerPage&) = delete;
  ~PeerPage() {
    if (counts_ != nullptr) munmap(counts_, sizeof(PeerCounts));
  }

  bool ok() const { return counts_ != nullptr; }
  PeerCounts& counts() { return *counts_; }

 private:
  PeerCounts* counts_ = nullptr;
};

}  // namespace mycelium::test

#endif  // TESTS_CONFORMANCE_PEER_PAGE_H_
