#ifndef TESTS_CRASH_BARE_DEATH_H_
#define TESTS_CRASH_BARE_DEATH_H_

#include <cstddef>
#include <cstdint>

namespace mycelium::test {

// How long, in nanoseconds, it takes until the death of a process without a bus
// is seen: the time that the kernel alone needs. The process has a second
// thread, as a node does, and `ballast_bytes` of memory besides the driver's;
// the observer sleeps until the process's socket ends. REQUIRES: this process
// has one thread.
int64_t NsUntilBareDeathIsSeen(size_t ballast_bytes);

}  // namespace mycelium::test

#endif  // TESTS_CRASH_BARE_DEATH_H_
