#ifndef MYCELIUM_BASE_MEMORY_SEALS_H_
#define MYCELIUM_BASE_MEMORY_SEALS_H_

namespace mycelium {

// The seals of Sys::AddSeals() and Sys::GetSeals(), as this system numbers
// them.

// Nobody can shrink, grow or unseal the memory.
extern const int kSealsOfSize;
// The same, and nobody can write to it except through mappings that exist.
extern const int kSealsOfSizeAndWriting;

}  // namespace mycelium

#endif  // MYCELIUM_BASE_MEMORY_SEALS_H_
