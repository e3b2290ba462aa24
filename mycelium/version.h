#ifndef MYCELIUM_VERSION_H_
#define MYCELIUM_VERSION_H_

// Where programs look for Version(). It lies below, since nodes tell it to each
// other's observers.
#include "mycelium/base/version.h"

#endif  // MYCELIUM_VERSION_H_
