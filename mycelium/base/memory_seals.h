#ifndef MYCELIUM_BASE_MEMORY_SEALS_H_
#define MYCELIUM_BASE_MEMORY_SEALS_H_

namespace mycelium {

// What Sys::AddSeals() and Sys::GetSeals() talk of, as this system numbers it.

// Nobody can shrink, grow or unseal the memory.
extern const int kSealsOfSize;
// The same, and nobody can write to it but through mappings that there are.
extern const int kSealsOfSizeAndWriting;

}  // namespace mycelium

#endif  // MYCELIUM_BASE_MEMORY_SEALS_H_
