#ifndef MYCELIUM_ROUTING_LINK_BOUNDS_H_
#define MYCELIUM_ROUTING_LINK_BOUNDS_H_

#include <cstddef>

namespace mycelium {

// What the receiving node of a link remembers for it at most, which both ends
// know (docs/wire_format.md). The Router matches nothing beyond that, so that
// nothing is accepted which the peer's Dispatcher could not tell whom it is
// for.
//
// Invariant: a match that the Dispatcher has not forgotten is a flow of the
// peer's Router. So while the Router keeps the bounds, the Dispatcher is not
// beyond them:
//  (1) The Router forgets a flow when all its frames are over, and says so
//      before it declares another publisher.
//  (2) What it could not say, since there was no connection, is not repeated on
//      the next one, where no frame comes before the last repetition. A match
//      that has not been repeated yet may be forgotten: it is repeated whole.

// Publishers that have matches; those that have ended count as long as frames
// of theirs are not handled.
inline constexpr size_t kLinkPublishersMax = 16 * 1024;
// Matches of one publisher, counted so too.
inline constexpr size_t kPublisherMatchesMax = 4096;

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_LINK_BOUNDS_H_
