#ifndef MYCELIUM_BASE_OWN_DESCRIPTORS_H_
#define MYCELIUM_BASE_OWN_DESCRIPTORS_H_

#include <cstdint>

namespace mycelium {

// Which descriptors the kernel gave to Sys and has not got back. The child of a
// fork() closes them: it has no use for them, and a socket that it kept open
// would hide from peers that its parent has died. Descriptors of memory are not
// among them, since those of a ShmWriter are there for other processes to map.
//
// Those beyond kOwnDescriptorsMax are not remembered, nor is one that another
// thread is being given while the process forks. They stay open in the child.
//
// Thread safety: all may be called from any thread.
inline constexpr int64_t kOwnDescriptorsMax = 65'536;

// Returns `fd`, which may also be a negated errno.
int64_t AddOwnDescriptor(int64_t fd);
// REQUIRES: it is not closed yet, so that nobody else has that number.
void RemoveOwnDescriptor(int64_t fd);
// In the child, as its only thread. Does what a signal handler may do.
void CloseOwnDescriptors();

}  // namespace mycelium

#endif  // MYCELIUM_BASE_OWN_DESCRIPTORS_H_
