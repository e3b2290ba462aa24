#include "tests/model/explorer.h"

#include <utility>

namespace mycelium::model {
namespace {

// For the hooks, which are plain functions.
Explorer* current_explorer = nullptr;

}  // namespace

Explorer* Explorer::current() { return current_explorer; }

Explorer::Explorer()
    : memory_([this](size_t count) { return Choose(count); },
              [this](const std::string& what) { Fail(what); },
              [this](const std::string& event) { Note(event); }) {
  for (size_t i = 0; i < kThreadsMax; ++i) {
    threads_[i].fiber = std::make_unique<Fiber>([this, i] { RunFiber(i); });
  }
}

Explorer::~Explorer() {
  is_closing_ = true;
  for (Thread& thread : threads_) thread.fiber->Resume();
}

// Lives as long as the explorer, and runs one execution after the other.
void Explorer::RunFiber(size_t thread) {
  while (!is_closing_) {
    try {
      scenario_->Run(thread);
    } catch (const Unwind&) {
    }
    threads_[thread].is_done = true;
    threads_[thread].fiber->Suspend();
  }
}

Explorer::Outcome Explorer::Explore(const Make& make, uint64_t executions_max) {
  outcome_ = Outcome();
  choices_.clear();
  visited_.clear();
  replay_ = 0;
  current_explorer = this;
  do {
    Execute(make);
    ++outcome_.executions;
  } while (!outcome_.failed && outcome_.executions < executions_max &&
           Backtrack());
  outcome_.complete = !outcome_.failed && choices_.empty();
  if (outcome_.failed) {  // Once more, to say how.
    replay_ = choices_.size();
    memory_.is_noting = true;
    Execute(make);
    memory_.is_noting = false;
  }
  current_explorer = nullptr;
  outcome_.states = visited_.size();
  return std::move(outcome_);
}

bool Explorer::Backtrack() {
  while (!choices_.empty() &&
         choices_.back().taken + 1 == choices_.back().count) {
    choices_.pop_back();
  }
  if (choices_.empty()) return false;
  ++choices_.back().taken;
  replay_ = choices_.size();
  return true;
}

void Explorer::Execute(const Make& make) {
  depth_ = 0;
  is_unwinding_ = false;
  for (Thread& thread : threads_) {
    thread.is_started = thread.is_done = thread.is_killed = false;
    thread.bell = nullptr;
  }
  const std::unique_ptr<Scenario> scenario = make(*this);
  scenario_ = scenario.get();
  thread_count_ = scenario->thread_count();
  const Scenario::Shared shared = scenario->shared();
  memory_.Reset(shared.ring, shared.ring_bytes, shared.words,
                shared.words_bytes, shared.word_bytes, shared.names,
                shared.apart);
  RunThreads();
  if (!is_unwinding_) {
    memory_.SetThread(0);
    memory_.JoinAll();
    try {
      scenario->AtEnd();
    } catch (const Unwind&) {
    }
  }
  UnwindThreads();
  memory_.Reset(nullptr, 0, nullptr, 0, 1, nullptr, {});
}

void Explorer::RunThreads() {
  is_scheduling_ = true;
  running_ = kNobody;
  next_ = PickThread();
  while (next_ != kNobody && !is_unwinding_) {
    running_ = next_;
    memory_.SetThread(running_);
    Thread& thread = threads_[running_];
    // It was picked for its first access.
    is_picked_ = !thread.is_started;
    thread.is_started = true;
    thread.fiber->Resume();
    is_picked_ = false;
    if (thread.is_done && !is_unwinding_) next_ = PickThread();
  }
  is_scheduling_ = false;
  if (is_unwinding_) return;
  for (size_t i = 0; i < thread_count_; ++i) {
    if (threads_[i].is_done || threads_[i].is_killed) continue;
    try {
      Fail("thread " + std::to_string(i) + " waits for ever to be told");
    } catch (const Unwind&) {
    }
  }
}

void Explorer::UnwindThreads() {
  is_unwinding_ = true;
  for (Thread& thread : threads_) {
    if (thread.is_started && !thread.is_done) thread.fiber->Resume();
  }
}

bool Explorer::CanRun(const Thread& thread) const {
  if (thread.is_done || thread.is_killed) return false;
  return thread.bell == nullptr ||
         memory_.Last(thread.bell, sizeof *thread.bell) != 0;
}

// The thread whose turn it is. Nobody's, if no thread can run, or if all that
// can happen from here was seen before.
size_t Explorer::PickThread() {
  size_t able[kThreadsMax];
  size_t count = 0;
  // The running thread goes on first: that needs no switch.
  if (running_ != kNobody && CanRun(threads_[running_])) {
    able[count++] = running_;
  }
  for (size_t i = 0; i < thread_count_; ++i) {
    if (i != running_ && CanRun(threads_[i])) able[count++] = i;
  }
  if (depth_ >= replay_ && !memory_.is_noting &&
      !visited_.insert(memory_.Fingerprint()).second) {
    is_unwinding_ = true;
    return kNobody;
  }
  return count == 0 ? kNobody : able[Choose(count)];
}

size_t Explorer::Choose(size_t count) {
  if (count == 1) return 0;
  if (depth_ == choices_.size()) choices_.push_back({0, count});
  return choices_[depth_++].taken;
}

void Explorer::BeforeAccess() {
  if (!is_scheduling_) return;
  if (is_unwinding_) throw Unwind();
  // Unless the first thing that it does is to wait.
  if (std::exchange(is_picked_, false) && CanRun(threads_[running_])) return;
  next_ = PickThread();
  if (is_unwinding_) throw Unwind();
  if (next_ == running_) return;
  threads_[running_].fiber->Suspend();
  if (is_unwinding_) throw Unwind();
}

void Explorer::Await(SharedWord<uint32_t>& bell) {
  threads_[running_].bell = &bell;
  BeforeAccess();
  threads_[running_].bell = nullptr;
  memory_.Modify(
      &bell, sizeof bell, std::memory_order_acq_rel,
      [](uint64_t, uint64_t* value) {
        *value = 0;
        return true;
      },
      "hears");
}

void Explorer::Check(bool holds, const char* what) {
  if (!holds) Fail(what);
}

void Explorer::Fail(const std::string& what) {
  if (!outcome_.failed) outcome_.what = what;
  outcome_.failed = true;
  is_unwinding_ = true;
  throw Unwind();
}

void Explorer::Note(const std::string& event) {
  const std::string who =
      is_scheduling_ ? "thread " + std::to_string(running_) : "at the end";
  outcome_.trace.push_back(who + ": " + event);
}

}  // namespace mycelium::model
