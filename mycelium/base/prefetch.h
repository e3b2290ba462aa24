#ifndef MYCELIUM_BASE_PREFETCH_H_
#define MYCELIUM_BASE_PREFETCH_H_

namespace mycelium {

// Asks for the cache line at `address`, which may be anywhere, and does not
// wait for it.
inline void PrefetchToRead(const void* address) { __builtin_prefetch(address); }

// The same for a line that this core is going to write and that others have.
// GCC's builtin asks for reading only, unless it compiles for processors that
// are known to have the instruction. Processors without it take it for none.
inline void PrefetchToWrite(const void* address) {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(address)));
#else
  __builtin_prefetch(address, /*rw=*/1);
#endif
}

}  // namespace mycelium

#endif  // MYCELIUM_BASE_PREFETCH_H_
