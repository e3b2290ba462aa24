#ifndef MYCELIUM_BASE_VERSION_H_
#define MYCELIUM_BASE_VERSION_H_

namespace mycelium {

// The version of the library that is running, as "major.minor.patch". Behind
// libmycelium.so it can differ from the version that the caller was built with.
// The text lives for ever.
//
// Thread safety: may be called from any thread. Never blocks or allocates.
const char* Version();

}  // namespace mycelium

#endif  // MYCELIUM_BASE_VERSION_H_
