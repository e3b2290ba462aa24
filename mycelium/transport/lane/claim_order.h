#ifndef MYCELIUM_TRANSPORT_LANE_CLAIM_ORDER_H_
#define MYCELIUM_TRANSPORT_LANE_CLAIM_ORDER_H_

#include <cstdint>

namespace mycelium {

// The rank of claims that are open at once: a number for each lane and each
// other thing that is locked together with lanes, rising in order of creation.
uint64_t NextClaimOrder();

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_CLAIM_ORDER_H_
