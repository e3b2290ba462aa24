#include "mycelium/testing/simulated_world.h"

#include <algorithm>
#include <utility>

namespace mycelium {

SimulatedThread& SimulatedWorld::Spawn(int place, std::function<void()> body) {
  threads_.push_back(std::make_unique<SimulatedThread>(place, std::move(body)));
  return *threads_.back();
}

bool SimulatedWorld::CanRun(SimulatedThread& thread) const {
  if (thread.stopped_ || thread.fiber_.finished()) return false;
  if (!thread.waits_ || thread.woken_) return true;
  if (thread.deadline_ <= now()) return true;
  return thread.ready_ != nullptr && (*thread.ready_)();
}

bool SimulatedWorld::Step(TimeNs until) {
  runnable_.clear();
  TimeNs next = kernel_.NextChange();
  for (const auto& thread : threads_) {
    if (CanRun(*thread)) {
      runnable_.push_back(thread.get());
    } else if (!thread->stopped_ && !thread->fiber_.finished()) {
      next = std::min(next, thread->deadline_);
    }
  }
  if (!runnable_.empty()) {
    Run(*runnable_[random_.Below(runnable_.size())]);
    return true;
  }
  if (now() >= until) return false;
  kernel_.AdvanceTo(std::min(next, until));
  trace_.Note(now(), Happening::kTimePasses, -1);
  return true;
}

void SimulatedWorld::Run(SimulatedThread& thread) {
  trace_.Note(now(), Happening::kTurn, thread.place_);
  SimulatedThread* const before = std::exchange(current_, &thread);
  thread.waits_ = false;
  thread.fiber_.Resume();
  current_ = before;
}

void SimulatedWorld::Finish(SimulatedThread& thread) {
  thread.dying_ = true;
  while (!thread.fiber_.finished()) Run(thread);
}

bool SimulatedWorld::Wait(TimeNs deadline, absl::FunctionRef<bool()> ready) {
  SimulatedThread& thread = *current_;
  if (thread.dying_) return false;
  thread.waits_ = true;
  thread.deadline_ = deadline;
  thread.ready_ = &ready;
  thread.fiber_.Suspend();
  thread.ready_ = nullptr;
  return !thread.dying_;
}

bool SimulatedWorld::WaitWord(const void* word, TimeNs deadline) {
  SimulatedThread& thread = *current_;
  if (thread.dying_) return false;
  thread.waits_ = true;
  thread.deadline_ = deadline;
  thread.word_ = word;
  thread.woken_ = false;
  thread.fiber_.Suspend();
  thread.word_ = nullptr;
  thread.woken_ = false;
  return !thread.dying_;
}

void SimulatedWorld::WakeWord(const void* word) {
  for (const auto& thread : threads_) {
    if (thread->word_ == word) thread->woken_ = true;
  }
}

}  // namespace mycelium
