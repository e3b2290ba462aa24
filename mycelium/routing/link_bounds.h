#ifndef MYCELIUM_ROUTING_LINK_BOUNDS_H_
#define MYCELIUM_ROUTING_LINK_BOUNDS_H_

#include <cstddef>

namespace mycelium {

// The most that the receiving node of a link remembers for it. Both ends know
// these bounds (docs/wire_format.md). The Router matches nothing beyond them,
// so that it accepts no message whose subscription the peer's Dispatcher could
// not tell.
//
// Invariant: a match that the Dispatcher has not forgotten is a flow of the
// peer's Router. So while the Router keeps the bounds, the Dispatcher is not
// beyond them:
//  (1) The Router forgets a flow when all its frames are over, and says so
//      before it declares another publisher.
//  (2) If it could not say so, because there was no connection, it does not
//      repeat that flow on the next one, where no frame comes before the last
//      repetition. The Dispatcher may forget a match that has not been repeated
//      yet: the repetition is complete.

// Publishers that have matches. A publisher that has ended counts as long as
// some of its frames are not handled.
inline constexpr size_t kLinkPublishersMax = 16 * 1024;
// Matches of one publisher, counted in the same way.
inline constexpr size_t kPublisherMatchesMax = 4096;

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_LINK_BOUNDS_H_
