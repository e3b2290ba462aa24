#include "mycelium/transport/link_loans.h"

#include <iterator>
#include <utility>

namespace mycelium {

LinkLoans::Offer LinkLoans::OfferOut(const std::shared_ptr<LoanMemory>& memory,
                                     bool may_map) {
  const auto [entry, is_new] = out_.try_emplace(memory->id());
  Out& out = entry->second;
  if (is_new) out.memory = memory;
  if (out.state != Offer::kNew) return out.state;
  out.state = may_map ? Offer::kPending : Offer::kRefused;
  if (!may_map) return out.state;
  to_announce_.push_back(memory);
  return Offer::kNew;
}

std::shared_ptr<LoanMemory> LinkLoans::TakeToAnnounce() {
  if (to_announce_.empty()) return nullptr;
  std::shared_ptr<LoanMemory> next = std::move(to_announce_.back());
  to_announce_.pop_back();
  out_[next->id()].told = true;
  return next;
}

bool LinkLoans::AnswerOut(uint32_t memory, bool taken) {
  const auto entry = out_.find(memory);
  if (entry == out_.end() || entry->second.state != Offer::kPending ||
      !entry->second.told) {
    return false;
  }
  entry->second.state = taken ? Offer::kTaken : Offer::kRefused;
  return true;
}

std::vector<LinkLoans::Ended> LinkLoans::TakeEnded() {
  std::vector<Ended> ended;
  for (auto entry = out_.begin(); entry != out_.end();) {
    if (entry->second.memory.expired()) {
      ended.push_back({entry->first, entry->second.told});
      entry = out_.erase(entry);
    } else {
      ++entry;
    }
  }
  return ended;
}

LinkLoans::Resumed LinkLoans::Resume(const std::set<uint32_t>& mapped) {
  Resumed resumed;
  to_announce_.clear();
  for (auto& [memory, out] : out_) {
    if (out.told && mapped.count(memory) != 0) {
      out.state = Offer::kTaken;  // The answer may have been lost.
      continue;
    }
    if (out.state == Offer::kTaken) resumed.lost.push_back(memory);
    out.state = Offer::kNew;
  }
  for (const uint32_t memory : mapped) {
    if (out_.count(memory) == 0) resumed.ended.push_back(memory);
  }
  return resumed;
}

}  // namespace mycelium
