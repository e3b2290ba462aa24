#ifndef MYCELIUM_BASE_THREAD_NUMBER_H_
#define MYCELIUM_BASE_THREAD_NUMBER_H_

#include <cstdint>

namespace mycelium {

// A number of the calling thread's own, which no other thread of the process
// ever has: unlike an address or a pthread_t, which the next thread may get.
//
// Thread safety: any thread. Ownership: none.

namespace thread_number_internal {
// In the block that each thread has from its start, also where Mycelium is
// loaded late, as into Python: so reading it is one instruction. Not
// thread_local, which would be asked each time whether it is initialised.
extern __thread uint64_t number __attribute__((tls_model("initial-exec")));
}  // namespace thread_number_internal

// 0 before the thread's first EnsureThreadNumber().
inline uint64_t ThreadNumber() { return thread_number_internal::number; }
// Gives the thread a number if it has none.
uint64_t EnsureThreadNumber();

}  // namespace mycelium

#endif  // MYCELIUM_BASE_THREAD_NUMBER_H_
