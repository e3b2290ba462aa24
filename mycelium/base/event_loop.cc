#include "mycelium/base/event_loop.h"

#include <algorithm>
#include <cerrno>
#include <tuple>
#include <utility>

#include "mycelium/base/cpu_relax.h"

namespace mycelium {
namespace {

// How often a spinning loop looks at its handlers for each look at the clock.
constexpr int kRoundsPerClock = 8;

// How long a spinning loop goes without asking the kernel, which alone knows of
// listeners and of sockets that have become writable.
constexpr int64_t kLookNs = 1'000'000;

// Between two looks at rings. Every look takes the line from the writer who is
// writing to it, so twice as many are worth less than half as many.
void RelaxBetweenLooks() {
  CpuRelax();
  CpuRelax();
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create(
    Environment& environment, bool is_polled) {
  Sys& sys = environment.sys;
  const int64_t epoll = sys.EpollCreate();
  if (epoll < 0) return ErrnoStatus(epoll, "epoll_create1");
  Fd epoll_fd(sys, static_cast<int>(epoll));
  const int64_t wake = sys.EventFd();
  if (wake < 0) return ErrnoStatus(wake, "eventfd");
  Fd wake_fd(sys, static_cast<int>(wake));
  Fd timer_fd;
  if (is_polled) {
    const int64_t timer = sys.TimerFd();
    if (timer < 0) return ErrnoStatus(timer, "timerfd_create");
    timer_fd = Fd(sys, static_cast<int>(timer));
  }
  for (const Fd* fd : {&wake_fd, &timer_fd}) {
    if (!fd->valid()) continue;
    epoll_event event = {};
    event.events = EPOLLIN;
    event.data.fd = fd->get();
    const int64_t added =
        sys.EpollCtl(epoll_fd.get(), EPOLL_CTL_ADD, fd->get(), &event);
    if (added < 0) return ErrnoStatus(added, "epoll_ctl add wake descriptor");
  }
  return std::unique_ptr<EventLoop>(
      new EventLoop(environment, std::move(epoll_fd), std::move(wake_fd),
                    std::move(timer_fd)));
}

EventLoop::~EventLoop() {
  // What a task owns may still use the loop while it is destroyed.
  bool done = false;
  while (!done) {
    std::vector<Task> tasks;
    std::vector<Timer> timers;
    MutexLock lock(mutex_);
    tasks.swap(tasks_);
    timers.swap(timers_);
    done = tasks.empty() && timers.empty();
    // The lock goes first, then what was swapped out.
  }
}

void EventLoop::Post(Task task) {
  bool is_first;
  {
    MutexLock lock(mutex_);
    is_first = tasks_.empty();
    tasks_.push_back(std::move(task));
    // Sequentially consistent together with `sleeping_`: the runner stores
    // `sleeping_` and then looks here, so one of the two sees the other.
    posted_.store(true);
  }
  if (sleeping_.load() || (is_first && shown_.load())) Wake();
}

uint64_t EventLoop::RunAt(TimeNs at, Task task) {
  uint64_t id;
  bool is_first;
  {
    MutexLock lock(mutex_);
    id = next_timer_++;
    timers_.push_back({at, id, std::move(task)});
    is_first = at < first_timer_.load();
    if (is_first) first_timer_.store(at);
    if (is_first && shown_.load()) ShowFirstTimer();
  }
  if (is_first && sleeping_.load()) Wake();
  return id;
}

void EventLoop::Cancel(uint64_t timer) {
  Task dropped;  // Destroyed outside the lock.
  MutexLock lock(mutex_);
  const auto entry =
      std::find_if(timers_.begin(), timers_.end(),
                   [&](const Timer& known) { return known.id == timer; });
  if (entry == timers_.end()) return;
  dropped = std::move(entry->task);
  *entry = std::move(timers_.back());
  timers_.pop_back();
  FindFirstTimer();
}

void EventLoop::FindFirstTimer() {
  TimeNs first = kNever;
  for (const Timer& timer : timers_) first = std::min(first, timer.at);
  first_timer_.store(first);
  if (shown_.load()) ShowFirstTimer();
}

int EventLoop::descriptor() {
  if (!timer_.valid()) return epoll_.get();
  MutexLock lock(mutex_);
  if (shown_.exchange(true)) return epoll_.get();
  ShowFirstTimer();
  if (!tasks_.empty()) Wake();
  return epoll_.get();
}

void EventLoop::ShowFirstTimer() {
  const TimeNs first = first_timer_.load();
  if (first == timer_shows_) return;
  timer_shows_ = first;
  const int64_t after_ns =
      first == kNever
          ? 0
          : std::max<int64_t>(first - environment_.clock.NowNs(), 1);
  environment_.sys.TimerFdSet(timer_.get(), after_ns);
}

absl::Status EventLoop::Watch(int fd, uint32_t events, Handler& handler) {
  epoll_event event = {};
  event.events = events;
  event.data.fd = fd;
  const int64_t added =
      environment_.sys.EpollCtl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  if (added < 0) return ErrnoStatus(added, "epoll_ctl add");
  handlers_[fd] = &handler;
  spin_list_stale_ = true;
  return absl::OkStatus();
}

absl::Status EventLoop::Rewatch(int fd, uint32_t events) {
  epoll_event event = {};
  event.events = events;
  event.data.fd = fd;
  const int64_t changed =
      environment_.sys.EpollCtl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
  if (changed < 0) return ErrnoStatus(changed, "epoll_ctl modify");
  return absl::OkStatus();
}

void EventLoop::Unwatch(int fd) {
  if (handlers_.erase(fd) == 0) return;
  not_spinning_.erase(fd);
  spin_list_stale_ = true;
  environment_.sys.EpollCtl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void EventLoop::AddPoller(Poller& poller) {
  pollers_.push_back(&poller);
  spin_list_stale_ = true;
}

void EventLoop::RemovePoller(Poller& poller) {
  pollers_.erase(std::remove(pollers_.begin(), pollers_.end(), &poller),
                 pollers_.end());
  spin_list_stale_ = true;
}

void EventLoop::SetSpinning(int fd, bool spins) {
  if (spins) {
    not_spinning_.erase(fd);
  } else {
    not_spinning_.insert(fd);
  }
  spin_list_stale_ = true;
}

bool EventLoop::RunPollers() {
  bool ran = false;
  // By index: what runs may add and remove.
  for (size_t i = 0; i < pollers_.size(); ++i) ran |= pollers_[i]->Poll();
  return ran;
}

bool EventLoop::PreparePollers() {
  pollers_asleep_ = true;
  bool has_work = false;
  for (Poller* const poller : pollers_) has_work |= poller->PrepareSleep();
  return has_work;
}

void EventLoop::EndPollers() {
  if (!pollers_asleep_) return;
  pollers_asleep_ = false;
  for (Poller* const poller : pollers_) poller->EndSleep();
}

EventLoop::Ran EventLoop::RunOnce(TimeNs deadline, int64_t spin_ns) {
  if (!BeginRunning()) return Ran::kOtherThread;
  runner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  EndPollers();
  quick_turns_ = 0;
  const bool ran =
      spin_ns > 0 ? RunSpinning(deadline, spin_ns) : RunAsleep(deadline);
  // Until the next turn somebody else's epoll waits for us.
  if (shown_.load() && PreparePollers()) Wake();
  runner_.store(std::thread::id(), std::memory_order_relaxed);
  EndRunning();
  return ran ? Ran::kSomething : Ran::kNothing;
}

bool EventLoop::RunQuickly() {
  if (!BeginRunning()) return false;
  bool ran = false;
  if (quick_turns_ < kQuickTurnsMax && !pollers_.empty() && !shown_.load()) {
    ++quick_turns_;
    runner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
    for (int round = 0; round < kQuickRounds && !HasPosted(); ++round) {
      ran = RunPollers();
      if (ran) break;
      RelaxBetweenLooks();
    }
    runner_.store(std::thread::id(), std::memory_order_relaxed);
  }
  EndRunning();
  return ran;
}

bool EventLoop::RunAsleep(TimeNs deadline) {
  looks_skipped_ = 0;
  bool ran = RunDue();
  ran |= RunPollers();
  ran |= RunReady(ran ? 0 : deadline);
  ran |= RunDue();
  return ran;
}

bool EventLoop::RunSpinning(TimeNs deadline, int64_t spin_ns) {
  TimeNs now = environment_.clock.NowNs();
  bool ran = false;
  if (HasPosted() || now >= first_timer_.load()) {
    ran = RunDue();
    now = environment_.clock.NowNs();
  }
  SpinBackoff::Spell spell(backoff_, now, spin_ns, deadline);
  if (!ran) ran = Spin(spell, now + kLookNs);
  // A spinning caller has looked at the handlers itself; the kernel, which
  // knows of the rest, is asked now and then.
  if ((ran || deadline <= 0) && !shown_.load() && !asks_kernel_ &&
      ++looks_skipped_ < kLooksSkippedMax && now - looked_at_ < kLookNs) {
    return ran;
  }
  while (true) {
    looks_skipped_ = 0;
    asks_kernel_ = false;
    looked_at_ = now = environment_.clock.NowNs();
    const bool is_over = ran || now >= spell.end();
    ran |= RunReady(ran || !is_over ? 0 : deadline);
    ran |= RunDue();
    if (ran || is_over) return ran;
    if (Spin(spell, now + kLookNs)) return true;
  }
}

void EventLoop::TakeBack() {
  while (true) {
    uint32_t seen = kAsleep;
    if (state_.compare_exchange_strong(seen, kRunning,
                                       std::memory_order_acquire)) {
      break;
    }
    if (seen == kLent && !state_.compare_exchange_strong(
                             seen, kLentAwaited, std::memory_order_relaxed)) {
      continue;
    }
    environment_.waiter.WaitWord(state_, kLentAwaited, kNever);
  }
  runner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
}

void EventLoop::GiveBack() {
  Waiter& waiter = environment_.waiter;
  runner_.store(std::thread::id(), std::memory_order_relaxed);
  // Release: pairs with TakeBack() and TryBorrow(). From here on the sleeper
  // may go on and destroy the loop; of the word only the address is used.
  if (state_.exchange(kAsleep, std::memory_order_release) == kLentAwaited) {
    waiter.WakeWord(state_);
  }
}

void EventLoop::Wake() {
  const uint64_t one = 1;
  environment_.sys.Write(wake_.get(), &one, sizeof one);
}

bool EventLoop::RunDue() {
  const bool ran_tasks = HasPosted() && RunPosted();
  return RunTimers() || ran_tasks;
}

bool EventLoop::RunPosted() {
  std::vector<Task> tasks;
  {
    MutexLock lock(mutex_);
    tasks.swap(tasks_);
    posted_.store(false);
  }
  for (Task& task : tasks) task();
  return !tasks.empty();
}

bool EventLoop::RunTimers() {
  const TimeNs first = first_timer_.load();
  if (first == kNever) return false;
  const TimeNs now = environment_.clock.NowNs();
  if (now < first) return false;
  while (true) {
    Task task;
    {
      MutexLock lock(mutex_);
      // The earliest first; of equal ones the one that was set first.
      const auto due = std::min_element(
          timers_.begin(), timers_.end(), [](const Timer& a, const Timer& b) {
            return std::tie(a.at, a.id) < std::tie(b.at, b.id);
          });
      if (due == timers_.end() || due->at > now) break;
      task = std::move(due->task);
      *due = std::move(timers_.back());
      timers_.pop_back();
      FindFirstTimer();
    }
    task();
  }
  return true;
}

bool EventLoop::RunReady(TimeNs deadline) {
  epoll_event events[kEventsMax];
  sleeping_.store(true);
  // What was posted before `sleeping_` was set did not wake us: look again.
  if (HasPosted()) deadline = 0;
  if (deadline > 0 && !pollers_.empty() && PreparePollers()) deadline = 0;
  deadline = std::min(deadline, first_timer_.load());
  const bool lends = deadline > 0 && lends_.load(std::memory_order_relaxed);
  if (lends) Lend();
  const int64_t ready = environment_.waiter.WaitEpoll(
      epoll_.get(), events, kEventsMax, std::max<TimeNs>(deadline, 0));
  if (lends) TakeBack();
  sleeping_.store(false);
  const bool slept = pollers_asleep_;
  EndPollers();
  bool ran = slept && RunPollers();
  for (int64_t i = 0; i < ready; ++i) {
    const int fd = events[i].data.fd;
    if (fd == wake_.get()) {
      DrainWake();
      ran = true;
      continue;
    }
    if (fd == timer_.get()) {
      // Perhaps a moment before it is due; it is set again in any case.
      MutexLock lock(mutex_);
      timer_shows_ = kNever - 1;
      ShowFirstTimer();
      continue;
    }
    // An earlier handler of this batch may have stopped watching this one.
    const auto handler = handlers_.find(fd);
    if (handler == handlers_.end()) continue;
    handler->second->OnReady(events[i].events);
    ran = true;
  }
  return ran;
}

bool EventLoop::Spin(SpinBackoff::Spell& spell, TimeNs until) {
  if (spin_list_stale_) {
    spin_list_.clear();
    for (const auto& [fd, handler] : handlers_) {
      if (not_spinning_.count(fd) == 0) spin_list_.push_back(handler);
    }
    spin_list_stale_ = false;
    spin_next_ = 0;
  }
  for (int round = 1;; ++round) {
    for (size_t i = 0; i < pollers_.size(); ++i) {
      if (pollers_[i]->Poll()) return true;
      if (spin_list_stale_) return true;
    }
    for (size_t i = 0; i < spin_list_.size(); ++i) {
      // After the one that found work last, so that none keeps others waiting.
      Handler* const handler = spin_list_[spin_next_];
      if (++spin_next_ == spin_list_.size()) spin_next_ = 0;
      if (handler->Poll()) return true;
      if (spin_list_stale_) return true;
    }
    if (HasPosted()) return true;
    if (asks_kernel_) return false;
    if (!pollers_.empty()) RelaxBetweenLooks();
    // An idle list costs nothing to look at, so then the clock is the brake.
    const bool is_idle = spin_list_.empty() && pollers_.empty();
    if (round % kRoundsPerClock != 0 && !is_idle && spell.end() > 0 &&
        !spell.rests()) {
      continue;
    }
    const TimeNs now = environment_.clock.NowNs();
    if (now >= until || now >= first_timer_.load()) return false;
    if (!spell.GoesOn(now)) return false;
  }
}

void EventLoop::DrainWake() {
  uint64_t count;
  environment_.sys.Read(wake_.get(), &count, sizeof count);
}

}  // namespace mycelium
