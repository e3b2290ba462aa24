#ifndef MYCELIUM_BASE_CPU_RELAX_H_
#define MYCELIUM_BASE_CPU_RELAX_H_

namespace mycelium {

// Tells the processor that this thread spins: saves power, and leaves more of
// the core to its sibling. Some tens of cycles.
inline void CpuRelax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace mycelium

#endif  // MYCELIUM_BASE_CPU_RELAX_H_
