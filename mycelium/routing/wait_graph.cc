#include "mycelium/routing/wait_graph.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "mycelium/base/thread_number.h"

namespace mycelium {
namespace {

bool HasRoomForStep(const v1::RoomAwaited& probe, const std::string& name) {
  size_t bytes = name.size();
  for (const v1::RoomAwaited::Step& step : probe.steps()) {
    bytes += step.queue().size();
  }
  return probe.steps_size() < WaitGraph::kStepsMax &&
         bytes <= WaitGraph::kNamesBytesMax;
}

}  // namespace

void WaitGraph::Look(Wait& wait, uint64_t released) {
  if (!Subscription::HasThisThreadTaken()) return;  // Nobody waits for us.
  v1::RoomAwaited probe;
  std::shared_ptr<Lane> lane;
  {
    MutexLock lock(mutex_);
    if (!wait.is_known_) {
      if (!waits_.emplace(EnsureThreadNumber(), &wait).second) return;
      wait.is_known_ = true;
      wait.number_ = next_number_++;
    }
    wait.released_ = released;
    wait.passed_ = 0;
    AddStep(wait, /*name=*/"", &probe);
    lane = Follow(wait, &probe);
  }
  if (lane != nullptr) tell_(*lane, std::move(probe));
}

void WaitGraph::Remove(const Wait&) {
  MutexLock lock(mutex_);
  waits_.erase(ThreadNumber());
}

void WaitGraph::OnAwaited(const v1::RoomAwaited& awaited,
                          const Subscription& queue) {
  if (awaited.steps().empty()) return;
  // What else a peer has put in goes no further.
  v1::RoomAwaited probe;
  for (const v1::RoomAwaited::Step& theirs : awaited.steps()) {
    if (!HasRoomForStep(probe, theirs.queue())) return;
    v1::RoomAwaited::Step& step = *probe.add_steps();
    step.set_incarnation(theirs.incarnation());
    step.set_wait(theirs.wait());
    step.set_queue(theirs.queue());
  }
  std::shared_ptr<Lane> lane;
  {
    MutexLock lock(mutex_);
    const Wait* const wait = Enter(queue, &probe);
    if (wait != nullptr) lane = Follow(*wait, &probe);
  }
  if (lane != nullptr) tell_(*lane, std::move(probe));
}

std::shared_ptr<Lane> WaitGraph::Follow(const Wait& from,
                                        v1::RoomAwaited* probe) {
  for (const Wait* wait = &from; wait != nullptr;
       wait = Enter(*wait->subscription_, probe)) {
    if (wait->subscription_ == nullptr) {
      // The peer compares that with what was handled.
      probe->set_handled(wait->released_);
      return wait->lane_;
    }
    if (wait->lane_->released() != wait->released_) return nullptr;
  }
  return nullptr;
}

const WaitGraph::Wait* WaitGraph::Enter(const Subscription& queue,
                                        v1::RoomAwaited* probe) {
  const auto entry = waits_.find(queue.consumer());
  if (entry == waits_.end()) return nullptr;
  Wait& wait = *entry->second;
  if (wait.in_circle()) return nullptr;  // It is about to end.
  const std::string name = NameOf(queue);
  if (IsOf(probe->steps(0), wait)) {
    Close(wait, *probe, name);
    return nullptr;
  }
  const auto is_here = [&](const v1::RoomAwaited::Step& step) {
    return IsOf(step, wait);
  };
  if (std::any_of(probe->steps().begin(), probe->steps().end(), is_here)) {
    return nullptr;  // A circle of other waits, which find it.
  }
  if (!HasRoomForStep(*probe, name) || ++wait.passed_ > kPassedMax) {
    return nullptr;
  }
  AddStep(wait, name, probe);
  return &wait;
}

void WaitGraph::Close(Wait& wait, const v1::RoomAwaited& probe,
                      const std::string& name) {
  // The lane may have room by now.
  if (wait.lane_->released() != wait.released_) return;
  std::string circle = name;
  for (int i = 1; i < probe.steps_size(); ++i) {
    absl::StrAppend(&circle, i == 1 ? " waits for " : ", which waits for ",
                    absl::Utf8SafeCEscape(probe.steps(i).queue()));
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
  step.set_queue(name);
}

std::string WaitGraph::NameOf(const Subscription& queue) const {
  const Subscription::Options& options = queue.options();
  return absl::StrCat(node_, "/", options.service, " (", options.topic,
                      options.name.empty() ? "" : ", ", options.name, ")");
}

}  // namespace mycelium
