#include "mycelium/base/event_loop.h"

#include <algorithm>
#include <cerrno>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/cpu_relax.h"
#include "mycelium/base/heavy_barrier.h"

namespace mycelium {
namespace {

// How often a spinning loop looks at its handlers for each look at the clock.
constexpr int kRoundsPerClock = 8;

// How long a spinning loop goes without asking the kernel, which alone knows of
// listeners and of sockets that have become writable.
constexpr int64_t kLookNs = 1'000'000;

void RelaxBetweenLooks() {
  static const int pauses = PausesIn(kBetweenRingLooksNs);
  CpuRelax(pauses);
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create(
    Environment& environment, LogSink log) {
  Sys& sys = environment.sys;
  const int64_t epoll = sys.EpollCreate();
  if (epoll < 0) return ErrnoStatus(epoll, "epoll_create1");
  Fd epoll_fd(sys, static_cast<int>(epoll));
  const int64_t wake = sys.EventFd();
  if (wake < 0) return ErrnoStatus(wake, "eventfd");
  Fd wake_fd(sys, static_cast<int>(wake));
  const int64_t timer = sys.TimerFd();
  if (timer < 0) return ErrnoStatus(timer, "timerfd_create");
  Fd timer_fd(sys, static_cast<int>(timer));
  auto loop = std::unique_ptr<EventLoop>(
      new EventLoop(environment, std::move(epoll_fd), std::move(wake_fd),
                    std::move(timer_fd), std::move(log)));
  for (const Fd* fd : {&loop->wake_, &loop->timer_}) {
    absl::Status added = loop->interests_.Add(fd->get(), EPOLLIN);
    if (!added.ok()) return added;
  }
  return loop;
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
  {
    MutexLock lock(mutex_);
    if (shown_.exchange(true)) return interests_.fd();
    ShowFirstTimer();
    // A thread that sleeps now was to be woken by what the timer showed before.
    // And from here on somebody else's epoll waits for the pollers: this makes
    // the caller take a turn, which tells them.
    Wake();
  }
  // If that fails, this makes the caller take a turn, which tries again.
  if (!interests_.Pin().ok()) Wake();
  return interests_.fd();
}

void EventLoop::ShowFirstTimer() {
  const TimeNs first = first_timer_.load();
  if (first != timer_shows_ || rang_) (void)SetTimer(first);
}

bool EventLoop::SetTimer(TimeNs at) {
  timer_shows_ = at;
  const int64_t after_ns =
      at == kNever ? 0 : std::max<int64_t>(at - environment_.clock.NowNs(), 1);
  const bool is_set = environment_.sys.TimerFdSet(timer_.get(), after_ns) == 0;
  rang_ = !is_set;  // Else it is tried again.
  return is_set;
}

bool EventLoop::SetAlarm(TimeNs until) {
  if (!environment_.waiter.is_real_time()) return false;
  MutexLock lock(mutex_);
  // With the lock, under which descriptor() takes the timer for itself.
  if (shown_.load()) return false;
  return (timer_shows_ <= until && !rang_) || SetTimer(until);
}

void EventLoop::OnTimerRang() {
  MutexLock lock(mutex_);
  rang_ = true;
  // Perhaps a moment before it is due.
  if (shown_.load()) ShowFirstTimer();
}

int64_t EventLoop::Sleep(epoll_event* events, TimeNs until) {
  while (true) {
    const bool has_alarm = SetAlarm(until);
    const int64_t ready = environment_.waiter.WaitEpoll(
        interests_.fd(), events, kEventsMax, has_alarm ? kNever : until);
    if (!has_alarm || ready != 1 || events[0].data.fd != timer_.get()) {
      return ready;
    }
    OnTimerRang();  // Perhaps for a sleep before this one.
    if (environment_.clock.NowNs() >= until) return 0;
  }
}

absl::Status EventLoop::Watch(int fd, uint32_t events, Handler& handler) {
  absl::Status added = interests_.Add(fd, events);
  if (!added.ok()) return added;
  handlers_[fd] = {&handler, Spinning::kBeside, waits_};
  spinners_stale_ = true;
  return absl::OkStatus();
}

absl::Status EventLoop::Rewatch(int fd, uint32_t events) {
  return interests_.Change(fd, events);
}

void EventLoop::Unwatch(int fd) {
  if (handlers_.erase(fd) == 0) return;
  spinners_stale_ = true;
  interests_.Remove(fd);
}

void EventLoop::AddPoller(Poller& poller) {
  pollers_.push_back(&poller);
  spinners_stale_ = true;
}

void EventLoop::RemovePoller(Poller& poller) {
  pollers_.erase(std::remove(pollers_.begin(), pollers_.end(), &poller),
                 pollers_.end());
  spinners_stale_ = true;
}

void EventLoop::SetSpinning(int fd, Spinning spinning) {
  const auto watched = handlers_.find(fd);
  if (watched == handlers_.end()) return;
  watched->second.spinning = spinning;
  spinners_stale_ = true;
  // If that fails, the descriptor is still looked at whenever the kernel is
  // asked.
  if (spinning != Spinning::kAlone) (void)interests_.PutBack(fd);
}

bool EventLoop::RunPollers() {
  bool ran = false;
  // By index: what runs may add and remove.
  for (size_t i = 0; i < pollers_.size(); ++i) ran |= pollers_[i]->Poll();
  return ran;
}

bool EventLoop::PreparePollers() {
  pollers_asleep_ = true;
  bool needs_barrier = false;
  for (Poller* const poller : pollers_) needs_barrier |= poller->BeginSleep();
  if (needs_barrier) SharedHeavyBarrier(environment_.sys);
  bool has_work = false;
  for (Poller* const poller : pollers_) has_work |= poller->HasWork();
  return has_work;
}

void EventLoop::EndPollers() {
  if (!pollers_asleep_) return;
  pollers_asleep_ = false;
  for (Poller* const poller : pollers_) poller->EndSleep();
}

EventLoop::Ran EventLoop::RunOnce(TimeNs deadline, int64_t spin_ns,
                                  uint32_t seen) {
  if (!BeginRunning()) return Ran::kOtherThread;
  if (interrupts() != seen) deadline = 0;
  runner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  EndPollers();
  quick_turns_ = 0;
  const bool ran =
      spin_ns > 0 ? RunSpinning(deadline, spin_ns) : RunAsleep(deadline);
  // Until the next turn somebody else's epoll waits for us.
  if (shown_.load() && (PreparePollers() || !PutBack())) Wake();
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
    const bool sleeps = is_over && !ran && now < deadline;
    if (!sleeps) TakeOut(now, spin_ns == kNever);
    ran |= RunReady(sleeps ? deadline : 0);
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
    if (seen == kReturned) {
      state_.store(kRunning, std::memory_order_relaxed);
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
  // may go on and destroy the loop; only the word's address is used.
  uint32_t lent = kLent;
  if (state_.compare_exchange_strong(lent, kAsleep,
                                     std::memory_order_release)) {
    return;
  }
  state_.store(kReturned, std::memory_order_release);
  waiter.WakeWord(state_);
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
  if (deadline > 0) {
    slept_ = true;
    if (!PutBack()) {
      deadline = std::min(deadline, environment_.clock.NowNs() + kLookNs);
    }
  }
  const bool lends = deadline > 0 && lends_.load(std::memory_order_relaxed);
  // Before the sleep: what a borrower watches was watched after this.
  ++waits_;
  if (lends) Lend();
  const int64_t ready = deadline > 0
                            ? Sleep(events, deadline)
                            : environment_.waiter.WaitEpoll(
                                  interests_.fd(), events, kEventsMax, 0);
  if (ready < 0) {
    OnDeaf(ready, deadline);
  } else if (std::exchange(is_deaf_, false) && log_ != nullptr) {
    log_(LogLevel::kInfo, "event loop: hears its sockets again");
  }
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
      OnTimerRang();
      continue;
    }
    // An earlier handler of this batch, or a borrower after the kernel told,
    // may have stopped watching this descriptor, and begun to watch another one
    // that has its number. The kernel tells next time what is ready there.
    const auto handler = handlers_.find(fd);
    if (handler == handlers_.end() || handler->second.since == waits_) continue;
    handler->second.handler->OnReady(events[i].events);
    ran = true;
  }
  // The kernel did not tell of those that are out.
  if (interests_.has_out()) ran |= PollSpinners();
  return ran;
}

void EventLoop::RefreshSpinners() {
  if (!spinners_stale_) return;
  spinners_.clear();
  for (const auto& [fd, watched] : handlers_) {
    if (watched.spinning == Spinning::kNot && !interests_.IsOut(fd)) continue;
    spinners_.push_back({fd, watched.handler,
                         watched.spinning == Spinning::kAlone, /*found=*/0});
  }
  spinners_stale_ = false;
  spin_next_ = 0;
}

bool EventLoop::PollNextSpinner() {
  // After the one that found work last, so that none keeps others waiting.
  Spinner& spinner = spinners_[spin_next_];
  if (++spin_next_ == spinners_.size()) spin_next_ = 0;
  if (!spinner.handler->Poll()) return false;
  ++spinner.found;  // Nothing that a handler calls makes the list anew.
  return true;
}

bool EventLoop::PollSpinners() {
  RefreshSpinners();
  bool ran = false;
  for (size_t i = 0; i < spinners_.size() && !spinners_stale_; ++i) {
    ran |= PollNextSpinner();
  }
  return ran || spinners_stale_;
}

void EventLoop::TakeOut(TimeNs now, bool spins_for_ever) {
  if (now - took_out_at_ < kLookNs) return;
  took_out_at_ = now;
  const bool slept = std::exchange(slept_, false);
  RefreshSpinners();
  for (Spinner& spinner : spinners_) {
    const int found = std::exchange(spinner.found, 0);
    if (!spinner.is_alone) continue;
    if (spins_for_ever || (!slept && found >= kMuchWork)) {
      interests_.TakeOut(spinner.fd);
    }
  }
}

bool EventLoop::PutBack() {
  const absl::Status put_back = interests_.PutBack();
  const bool was_reported = std::exchange(is_reported_, !put_back.ok());
  if (put_back.ok()) return true;
  if (log_ != nullptr && !was_reported) {
    log_(LogLevel::kError,
         absl::StrCat("event loop: ", put_back.message(),
                      "; looks every millisecond instead of sleeping"));
  }
  return false;
}

void EventLoop::OnDeaf(int64_t error, TimeNs deadline) {
  if (log_ != nullptr && !is_deaf_) {
    log_(LogLevel::kError,
         absl::StrCat(
             "event loop: ", ErrnoStatus(error, "wait by epoll").message(),
             "; hears no socket until that works, and tries each millisecond"));
  }
  is_deaf_ = true;
  const TimeNs now = environment_.clock.NowNs();
  if (deadline <= now) return;
  // Nobody wakes this thread by that word.
  const std::atomic<uint32_t> never{0};
  environment_.waiter.WaitWord(never, 0, std::min(deadline, now + kLookNs));
}

bool EventLoop::Spin(SpinBackoff::Spell& spell, TimeNs until) {
  RefreshSpinners();
  for (int round = 1;; ++round) {
    for (size_t i = 0; i < pollers_.size(); ++i) {
      if (pollers_[i]->Poll()) return true;
      if (spinners_stale_) return true;
    }
    for (size_t i = 0; i < spinners_.size(); ++i) {
      if (PollNextSpinner()) return true;
      if (spinners_stale_) return true;
    }
    if (HasPosted()) return true;
    if (asks_kernel_) return false;
    if (!pollers_.empty()) RelaxBetweenLooks();
    // An idle list costs nothing to look at, so then the clock is the brake.
    const bool is_idle = spinners_.empty() && pollers_.empty();
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
