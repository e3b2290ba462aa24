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

// Has the kernel offer HeavyBarrier() to this process, once; in a process that
// has threads already this may take some tens of milliseconds. A kernel that
// refuses, or a sandbox, is no error: has_heavy_barrier() stays false.
void AskForHeavyBarrier(Sys& sys);

// Whether it is offered. False again for good if it has failed since, for
// example because the process has put itself into a sandbox.
bool has_heavy_barrier();

// REQUIRES: has_heavy_barrier() was true once.
// If the kernel refuses by now, this waits for much longer (10 ms) than any
// processor keeps a store to itself, so that what was begun can be ended. After
// that nobody begins again.
void HeavyBarrier(Sys& sys);

}  // namespace mycelium

#endif  // MYCELIUM_BASE_HEAVY_BARRIER_H_
