#ifndef MYCELIUM_BASE_PLANTED_BUG_H_
#define MYCELIUM_BASE_PLANTED_BUG_H_

// Bugs that stand in the code on purpose, to show that the simulation finds
// them (tests/simulation), or, for number 6, that guard pages do
// (tests/conformance/planted_overread_test). They exist only in a build with
// MYCELIUM_PLANTED_BUGS defined, in which one at a time is switched on. In any
// other build the condition is the constant `false`.
//
//   1  lost acknowledgement   inbound_lanes.cc
//   2  double hand-over       inbound_lanes.cc, framed_link.cc
//   3  miscounted drop        router_remotes.cc
//   4  missed wake-up         local_channel.cc
//   5  reorder on resend      dispatcher.cc
//   6  read beyond a frame    inbound_ring.cc
//   7  acknowledgements that wait for data to ride on  framed_link_sender.cc
//   8  data that waits for a write that is over        framed_link_sender.cc
//   9  wrong subscription disconnected  framed_link_lanes.cc
//  10  `retain` that is not kept        peer_table.cc
//  11  shutdown that counts nothing     peer_table.cc

#ifdef MYCELIUM_PLANTED_BUGS
namespace mycelium {
// Which one is switched on; 0: none. Set before any bus is made.
inline int planted_bug = 0;
}  // namespace mycelium
#define MYCELIUM_PLANTED_BUG(number) (::mycelium::planted_bug == (number))
#else
#define MYCELIUM_PLANTED_BUG(number) false
#endif

#endif  // MYCELIUM_BASE_PLANTED_BUG_H_
