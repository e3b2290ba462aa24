#include "mycelium/routing/wait_graph.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace mycelium {

void WaitGraph::Look(Wait& wait, uint64_t released) {
  v1::RoomAwaited probe;
  std::shared_ptr<Lane> lane;
  {
    MutexLock lock(mutex_);
    if (wait.number_ == 0) {
      if (!waits_.emplace(std::this_thread::get_id(), &wait).second) return;
      wait.number_ = next_number_++;
    }
    wait.released_ = released;
    AddStep(wait, /*name=*/"", &probe);
    lane = Follow(wait, &probe);
  }
  if (lane != nullptr) tell_(*lane, std::move(probe));
}

void WaitGraph::Remove(const Wait&) {
  MutexLock lock(mutex_);
  waits_.erase(std::this_thread::get_id());
}

void WaitGraph::OnAwaited(const v1::RoomAwaited& awaited,
                          const Subscription& subscription) {
  if (awaited.steps_size() == 0 || awaited.steps_size() > kStepsMax) return;
  for (const v1::RoomAwaited::Step& step : awaited.steps()) {
    if (step.subscription().size() > kNameBytesMax) return;
  }
  v1::RoomAwaited probe;
  *probe.mutable_steps() = awaited.steps();
  std::shared_ptr<Lane> lane;
  {
    MutexLock lock(mutex_);
    const Wait* const wait = Enter(subscription, &probe);
    if (wait != nullptr) lane = Follow(*wait, &probe);
  }
  if (lane != nullptr) tell_(*lane, std::move(probe));
}

std::shared_ptr<Lane> WaitGraph::Follow(const Wait& from,
                                        v1::RoomAwaited* probe) {
  for (const Wait* wait = &from; wait != nullptr;
       wait = Enter(*wait->subscription_, probe)) {
    if (wait->subscription_ == nullptr) {
      // There it is compared with what was handled.
      probe->set_handled(wait->released_);
      return wait->lane_;
    }
    if (wait->lane_->released() != wait->released_) return nullptr;
  }
  return nullptr;
}

const WaitGraph::Wait* WaitGraph::Enter(const Subscription& subscription,
                                        v1::RoomAwaited* probe) {
  const auto entry = waits_.find(subscription.consumer());
  if (entry == waits_.end()) return nullptr;
  Wait& wait = *entry->second;
  const std::string name = NameOf(subscription);
  if (IsOf(probe->steps(0), wait)) {
    Close(wait, *probe, name);
    return nullptr;
  }
  const auto is_here = [&](const v1::RoomAwaited::Step& step) {
    return IsOf(step, wait);
  };
  if (probe->steps_size() == kStepsMax ||
      std::any_of(probe->steps().begin(), probe->steps().end(), is_here)) {
    return nullptr;  // A circle of others, who find it.
  }
  AddStep(wait, name, probe);
  return &wait;
}

void WaitGraph::Close(Wait& wait, const v1::RoomAwaited& probe,
                      const std::string& name) {
  if (wait.in_circle()) return;
  std::string circle = name;
  for (int i = 1; i < probe.steps_size(); ++i) {
    absl::StrAppend(&circle, i == 1 ? " waits for " : ", which waits for ",
                    absl::Utf8SafeCEscape(probe.steps(i).subscription()));
  }
  wait.circle_ = absl::StrCat(circle, ", which waits for ", name);
  // Release: pairs with in_circle().
  wait.found_.store(true, std::memory_order_release);
  wait.lane_->room_event().Notify(environment_.waiter);
}

void WaitGraph::AddStep(const Wait& wait, const std::string& name,
                        v1::RoomAwaited* probe) const {
  v1::RoomAwaited::Step& step = *probe->add_steps();
  step.set_incarnation(incarnation_);
  step.set_wait(wait.number_);
  step.set_subscription(name);
}

std::string WaitGraph::NameOf(const Subscription& subscription) const {
  const Subscription::Options& options = subscription.options();
  return absl::StrCat(node_, "/", options.service, " (", options.topic,
                      options.name.empty() ? "" : ", ", options.name, ")");
}

}  // namespace mycelium
