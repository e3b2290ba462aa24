#ifndef MYCELIUM_BASE_HEAVY_BARRIER_H_
#define MYCELIUM_BASE_HEAVY_BARRIER_H_

#include <atomic>

#include "mycelium/base/sys.h"

namespace mycelium {

// Two barriers. The one that is run often costs nothing, because the other one
// does its work. Where two threads each store a word and then look for the
// other's store, one of them has LightBarrier() in between and the other
// HeavyBarrier(): at least one of the two sees what the other stored.
//
// HeavyBarrier() has each thread of the process run a full barrier before it
// returns (on Linux, membarrier(2), private expedited: some microseconds, and
// an interrupt for each CPU that runs the process). Of any two threads, either
// of the barriers of one and the heavy one of the other are ordered.
//
// Thread safety: any thread. Ownership: none.

// Keeps the compiler from moving loads and stores over it. HeavyBarrier() keeps
// the processor from that.
inline void LightBarrier() {
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

// Has the kernel offer HeavyBarrier() and SharedHeavyBarrier() to this process,
// once; a second caller waits for the first. In a process that has threads
// already this may take some tens of milliseconds, twice. A kernel that
// refuses, or a sandbox, is no error: what it does not offer stays false.
void AskForHeavyBarrier(Sys& sys);

// Whether it is offered. False again for good if it has failed since, for
// example because the process has put itself into a sandbox.
bool has_heavy_barrier();

// REQUIRES: has_heavy_barrier() was true once.
// If the kernel refuses by now, this waits for much longer (10 ms) than any
// processor keeps a store to itself, so that what was begun can be ended. After
// that nobody begins again.
void HeavyBarrier(Sys& sys);

// The same between processes of one kernel that share memory.

// Whether SharedHeavyBarrier() of any process is run in each thread of this
// one: AskForHeavyBarrier() has told the kernel of it (on Linux, membarrier(2),
// global expedited).
bool takes_shared_heavy_barriers();
// Whether this process can run one. False again for good if it has failed.
bool has_shared_heavy_barrier();

// Like HeavyBarrier(), in each thread of each process that takes them. It
// interrupts every CPU that runs one of them, so it is for what happens rarely.
// REQUIRES: has_shared_heavy_barrier() was true once.
void SharedHeavyBarrier(Sys& sys);

}  // namespace mycelium

#endif  // MYCELIUM_BASE_HEAVY_BARRIER_H_
