// The part of FramedLink that lends: it tells the peer of memory in which loans
// lie, and maps the peer's.
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/transport/framed_link.h"

namespace mycelium {
namespace {

template <typename OutLanes>
void ForgetAnswers(const OutLanes& lanes, uint32_t memory) {
  for (const auto& [id, out] : lanes) {
    out->lane->loans().SetAnswer(memory, LaneLoans::Answer::kNotAsked);
  }
}

}  // namespace

void FramedLink::OnLoanMemory(const Lane& lane,
                              const std::shared_ptr<LoanMemory>& memory) {
  // The lane is locked.
  loop_.Post([this, alive = alive_, id = lane.id(), memory] {
    if (*alive) OfferLoans(id, memory);
  });
}

void FramedLink::OnLoansSettled(const Lane&) {
  loop_.Post([this, alive = alive_] {
    if (!*alive) return;
    CloseEndedLoans();
    Kick();
  });
}

void FramedLink::OfferLoans(uint32_t lane,
                            const std::shared_ptr<LoanMemory>& memory) {
  CloseEndedLoans();
  // Between connections nothing is offered: ResetLanes() has it asked again.
  if (channel_ == nullptr) return;
  // A process that maps the memory can read all the loans in it, whichever peer
  // they are for.
  const bool may_map =
      loans_.peer_maps && shares_.load() && channel_->is_same_user();
  {
    MutexLock lock(lanes_mutex_);
    const LinkLoans::Offer offer = loans_.OfferOut(memory, may_map);
    const auto out = out_lanes_.find(lane);
    if (offer == LinkLoans::Offer::kTaken && out != out_lanes_.end() &&
        out->second->lane->mapped()) {
      out->second->lane->loans().SetAnswer(memory->id(),
                                           LaneLoans::Answer::kYes);
    }
    if (offer != LinkLoans::Offer::kNew) return;
  }
  Kick();
}

bool FramedLink::AnnounceLoans() {
  std::shared_ptr<LoanMemory> memory = loans_.TakeToAnnounce();
  if (memory == nullptr) return false;
  v1::Control control;
  control.mutable_loan_memory_open()->set_memory(memory->id());
  control.mutable_loan_memory_open()->set_bytes(memory->bytes().size());
  QueueControl(control);
  outgoing_.passed = {memory->descriptors(), memory, /*is_lane=*/false,
                      memory->id()};
  return true;
}

void FramedLink::OnLoanControl(const v1::Control& control) {
  if (control.has_loan_memory_open()) {
    const v1::LoanMemoryOpen& open = control.loan_memory_open();
    const absl::Status mapped = MapLoans(open);
    v1::Control answer;
    answer.mutable_loan_memory_taken()->set_memory(open.memory());
    answer.mutable_loan_memory_taken()->set_reason(
        std::string(mapped.message()));
    SendControl(answer);
  } else if (control.has_loan_memory_taken()) {
    OnLoansTaken(control.loan_memory_taken());
  } else {
    loans_.in.erase(control.loan_memory_closed().memory());
    for (InboundRing* const ring : ring_list_) ring->LetGoOfLoans();
    handler_.OnLoansClosed(*this);
  }
}

absl::Status FramedLink::MapLoans(const v1::LoanMemoryOpen& open) {
  std::optional<std::array<Fd, 2>> descriptors = channel_->TakeDescriptors();
  if (!shares_.load() || !channel_->is_same_user()) {
    return absl::FailedPreconditionError("memory was not to be shared");
  }
  if (loans_.in.size() >= LinkLoans::kInMax &&
      loans_.in.count(open.memory()) == 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("more than ", LinkLoans::kInMax, " of them"));
  }
  const uint64_t bytes = open.bytes();
  if (bytes < kRingBytesMin || bytes > kLaneBytesMax ||
      (bytes & (bytes - 1)) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(bytes, " bytes; a power of two from ", kRingBytesMin,
                     " to ", kLaneBytesMax, " is accepted"));
  }
  if (!descriptors.has_value() || !(*descriptors)[0].valid() ||
      !(*descriptors)[1].valid()) {
    return absl::UnavailableError("its descriptors did not arrive");
  }
  absl::StatusOr<std::shared_ptr<LaneMemory>> memory =
      options_.shared_memory->Map(std::move((*descriptors)[0]),
                                  std::move((*descriptors)[1]), bytes);
  if (!memory.ok()) return memory.status();
  loans_.in[open.memory()] = *std::move(memory);
  return absl::OkStatus();
}

void FramedLink::OnLoansTaken(const v1::LoanMemoryTaken& taken) {
  const bool is_taken = taken.reason().empty();
  {
    MutexLock lock(lanes_mutex_);
    if (!loans_.AnswerOut(taken.memory(), is_taken)) return;
    for (auto& [id, out] : out_lanes_) {
      if (is_taken && out->lane->mapped() && out->lane->stage() == nullptr) {
        out->lane->loans().SetAnswer(taken.memory(), LaneLoans::Answer::kYes);
      }
    }
  }
  if (is_taken) return;
  handler_.OnLoansRefused(
      *this, absl::UnavailableError(
                 absl::StrCat(name(), ": the peer has not mapped memory of ",
                              "loans, which are copied: ", taken.reason())));
}

void FramedLink::CloseEndedLoans() {
  MutexLock lock(lanes_mutex_);
  for (const LinkLoans::Ended& ended : loans_.TakeEnded()) {
    ForgetAnswers(out_lanes_, ended.memory);
    if (ended.told) SayLoansClosed(ended.memory);
  }
}

void FramedLink::SayLoansClosed(uint32_t memory) {
  v1::Control control;
  control.mutable_loan_memory_closed()->set_memory(memory);
  QueueControl(control);
}

void FramedLink::ResumeLoans(const v1::Hello& peer) {
  std::set<uint32_t> mapped;
  for (const uint32_t memory : peer.resume_loan_memories()) {
    if (mapped.size() == LinkLoans::kInMax) break;  // It takes no more.
    mapped.insert(memory);
  }
  LinkLoans::Resumed resumed = loans_.Resume(mapped);
  for (const uint32_t memory : resumed.lost) ForgetAnswers(out_lanes_, memory);
  loans_.ended = std::move(resumed.ended);
}

}  // namespace mycelium
