#include "mycelium/base/version.h"

namespace mycelium {

const char* Version() { return "0.3.0"; }

}  // namespace mycelium
