#ifndef MYCELIUM_TRANSPORT_LINK_LOANS_H_
#define MYCELIUM_TRANSPORT_LINK_LOANS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "mycelium/transport/inbound_ring.h"
#include "mycelium/transport/lane/loan_memory.h"

namespace mycelium {

// The memory of loans that the two ends of a link have told each other of.
//
// A memory is offered to the peer when a loan in it is first published over the
// link. Frames refer to it once the peer has answered that it has mapped it. An
// offer that is not answered when a connection ends is made anew; to another
// process, all of them are. Once nobody has the memory any more, the peer is
// told to let go of it. That message may be lost with a connection, so Resume()
// names what the peer still has and must be told of again.
//
// Thread safety: the public fields are the loop's; the members are called under
// the link's lock of lanes.
class LinkLoans final {
 public:
  // How many memories of a peer are mapped at most. More are refused.
  static constexpr size_t kInMax = 256;

  // The peer's, as our rings look them up. On the loop.
  InboundRing::LoanMemories in;

  // Whether the peer's process knows what LoanMemoryOpen is; on the loop. A
  // process that does not would take its descriptors for those of a lane.
  bool peer_maps = false;
  // The memories that the peer last said it has mapped, and should have no
  // more; the loop's.
  std::vector<uint32_t> ended;

  enum class Offer {
    kNew,      // It is to be announced.
    kPending,  // The answer is not there yet.
    kRefused,
    kTaken,
  };
  // `may_map`: whether the peer is to be asked at all.
  Offer OfferOut(const std::shared_ptr<LoanMemory>& memory, bool may_map);
  // The next memory that is to be announced, or null.
  std::shared_ptr<LoanMemory> TakeToAnnounce();
  // The peer's answer. False: nobody waits for it.
  bool AnswerOut(uint32_t memory, bool taken);
  // The memories that nobody has any more.
  struct Ended {
    uint32_t memory;
    bool told;  // To the peer: it may have it.
  };
  std::vector<Ended> TakeEnded();

  // Another connection to the same process, which has those mapped.
  struct Resumed {
    std::vector<uint32_t> lost;   // The peer had taken, and has no more.
    std::vector<uint32_t> ended;  // The peer has, and is to let go of.
  };
  Resumed Resume(const std::set<uint32_t>& mapped);
  // Another process.
  void ForgetOut() {
    out_.clear();
    to_announce_.clear();
  }

 private:
  struct Out {
    std::weak_ptr<LoanMemory> memory;
    Offer state = Offer::kNew;
    bool told = false;  // To this process, on whatever connection.
  };
  std::map<uint32_t, Out> out_;
  std::vector<std::shared_ptr<LoanMemory>> to_announce_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LINK_LOANS_H_
