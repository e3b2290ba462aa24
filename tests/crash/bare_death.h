#ifndef TESTS_CRASH_BARE_DEATH_H_
#define TESTS_CRASH_BARE_DEATH_H_

#include <cstddef>
#include <cstdint>

namespace mycelium::test {

// How long, in nanoseconds, the death of a process without a bus takes to be
// seen: what the kernel alone needs. It has one thread besides the first, as a
// node does, and so much memory besides the driver's; somebody sleeps until its
// socket ends. REQUIRES: this process has one thread.
int64_t NsUntilBareDeathIsSeen(size_t ballast_bytes);

}  // namespace mycelium::test

#endif  // TESTS_CRASH_BARE_DEATH_H_
