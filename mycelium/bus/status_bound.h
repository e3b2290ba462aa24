#ifndef MYCELIUM_BUS_STATUS_BOUND_H_
#define MYCELIUM_BUS_STATUS_BOUND_H_

#include <cstddef>

#include "proto/mycelium/v1/status.pb.h"

namespace mycelium {

// The largest NodeStatus that a node sends.
inline constexpr size_t kStatusBytesMax = 256 * 1024;

// Takes entries out of `status` until it has at most `bytes_max` bytes, and
// counts them in its ..._left_out. First flows go, then subscriptions, then
// publishers; the entries that explain why messages do not come go last. Of one
// kind, those at the end go.
void LeaveOutBeyond(size_t bytes_max, v1::NodeStatus* status);

}  // namespace mycelium

#endif  // MYCELIUM_BUS_STATUS_BOUND_H_
