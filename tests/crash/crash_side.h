#ifndef TESTS_CRASH_CRASH_SIDE_H_
#define TESTS_CRASH_CRASH_SIDE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "tests/crash/crash_points.h"

namespace mycelium::test {

// What all processes of a run tell each other and the driver, in memory that
// outlives each of them. It starts as zeroes.
struct RunPage {
  static constexpr uint64_t kRunsMax = 4096;
  // The messages of one life of the writer: numbers from 1 on.
  struct Run {
    std::atomic<uint64_t> attempted;  // Raised before Publish(),
    std::atomic<uint64_t> accepted;   // and after it said OK.
    std::atomic<uint64_t> last;       // The highest that a reader got.
  };

  CrashPage victim;
  std::atomic<uint32_t> phase;    // By the driver: see RunSide().
  std::atomic<uint32_t> changed;  // Raised, and woken, when messages came.
  std::atomic<bool> leaves;       // By the victim: it has begun to shut down.
  Run runs[kRunsMax];

  // Written by readers.
  std::atomic<uint64_t> received;  // All, including those that came again.
  std::atomic<uint64_t> again;     // Those that came again, and said so.
  std::atomic<uint64_t> gaps;      // These three must stay 0.
  std::atomic<uint64_t> twice;
  std::atomic<uint64_t> torn;

  // Written by the survivor: its connections, and its counts at the end.
  std::atomic<int64_t> up_at;
  std::atomic<int64_t> down_at;
  std::atomic<bool> met;  // Whether there was one when the victim had ended.
  std::atomic<uint64_t> accepted, delivered, in_flight, dropped;
  std::atomic<uint64_t> listeners;  // How many won the path.
  char failure[512];                // What went wrong first.
};

// How a reader gets messages.
enum class Receiving {
  kHandler,  // In the thread that polls; read where they lie.
  kQueue,    // From a queue, one at a time.
  kLossy,    // The same, where only the newest are kept.
};

// One process: a writer or a reader, which dials or accepts.
struct SideOptions {
  std::string path;
  Receiving receiving = Receiving::kHandler;
  bool writes = false;
  bool dials = false;
  // The node has a thread, which waits as nodes do by default. Otherwise the
  // thread that publishes or receives polls, and sleeps at once.
  bool has_thread = false;
  uint64_t run = 0;       // A writer's life.
  uint64_t messages = 0;  // How many it publishes, or awaits of that run; 0:
                          // until it is killed.
  // A survivor stays for both lives of the other side: it publishes as many
  // messages again in phase 2, and ends in phase 3.
  bool survives = false;
  // For a victim: where it dies.
  uint64_t kill_at_store = 0;
  uint64_t kill_at_call = 0;
  bool is_victim = false;
  size_t ballast_bytes = 0;  // Memory that it has in addition.
};

// Plays such a process; returns its exit status: 0 if all went well, kPathTaken
// if another process listens.
inline constexpr int kPathTaken = 3;
int RunSide(const SideOptions& options, RunPage& page);

}  // namespace mycelium::test

#endif  // TESTS_CRASH_CRASH_SIDE_H_
