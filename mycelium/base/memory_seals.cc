#include "mycelium/base/memory_seals.h"

#include <fcntl.h>

#ifndef F_SEAL_FUTURE_WRITE  // Of Linux 5.1; not every libc knows it.
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace mycelium {

const int kSealsOfSize = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
const int kSealsOfSizeAndWriting = kSealsOfSize | F_SEAL_FUTURE_WRITE;

}  // namespace mycelium
