#ifndef MYCELIUM_BASE_EVENT_LOOP_H_
#define MYCELIUM_BASE_EVENT_LOOP_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/fd.h"
#include "mycelium/base/interest_list.h"
#include "mycelium/base/log.h"
#include "mycelium/base/mutex.h"
#include "mycelium/base/spin_backoff.h"

namespace mycelium {

// Waits for descriptors, timers and posted tasks, and runs what is due, always
// on one thread at a time: whichever calls RunOnce(), or borrows the loop.
//
// Lending. A thread that has work for the loop may do it itself while the
// thread that runs the loop sleeps, which saves waking that one up:
// TryBorrow(), the work, GiveBack(). The sleeper stays asleep. A thread that
// posts a task or sets a timer wakes it as ever, and so does the borrower. A
// sleeper that wakes up goes on when the loop was given back, before anybody
// else can borrow it.
//
// Invariant: `state_` has one owner: the thread that made it kRunning, or
// kLent. A lent loop lives until it is given back, since RunOnce() does not
// return before.
//
// What the kernel watches. A watched socket costs its writers and readers time
// for each message (InterestList). So a spinning loop takes out of its epoll
// the sockets whose handlers look for themselves (Spinning::kAlone): all of
// them if it spins for ever, otherwise those that found much work in a
// millisecond without a sleep. It does so when it asks the kernel, at most once
// a millisecond. It puts them back
//
// - before it sleeps, and so before it is lent. What came before that ends the
//   sleep: the kernel looks at a descriptor when it gets it back;
// - for good from the first descriptor() on, since somebody sleeps there;
// - each when it is to be told of EPOLLOUT, which no Poll() sees.
//
// While any is out, the loop asks the handlers whenever it asks the kernel:
// tasks and pollers with endless work keep nobody waiting. If the kernel does
// not take one back (ENOMEM, ENOSPC), the loop reports that, sleeps for no
// longer than a millisecond at a time, and tries again before each sleep. Where
// somebody else sleeps, descriptor() is readable until the kernel has taken it
// back.
//
// Sleeping until a time. Giving the kernel a timer with each sleep, and taking
// it back with each sleep that ends early, takes a fifth of a wake-up
// (docs/adr/0038). So the loop sleeps on `timer_` too, which stays set from one
// sleep to the next. It is set anew only for an earlier time, or after it rang,
// and a sleep that it ends too early goes on.
//
// Thread safety: Post, RunAt, Cancel, Rewatch, Wake, RunOnce and TryBorrow may
// be called from any thread; Watch and Unwatch only from within RunOnce, by a
// borrower, or while nothing runs the loop.
//
// Ownership: borrows the environment and the handlers.
class EventLoop final {
 public:
  using Task = std::function<void()>;

  // What a descriptor's readiness does.
  class Handler {
   public:
    virtual ~Handler() = default;

    // `events` are epoll's bits.
    virtual void OnReady(uint32_t events) = 0;

    // Called again and again while the loop spins instead of sleeping. Looks
    // for work without waiting and returns whether it found some.
    virtual bool Poll() { return false; }
  };

  // What looks whether a descriptor is ready while the loop spins.
  enum class Spinning {
    kNot,     // The kernel, which is asked now and then: a little later.
    kBeside,  // Poll() too. So it is at first.
    // Poll(), and perhaps nothing else: it does all that OnReady() does at
    // EPOLLIN, EPOLLHUP and EPOLLERR, like a read that sees the end and errors.
    kAlone,
  };

  // Work that no descriptor tells of, such as frames in shared memory.
  class Poller {
   public:
    virtual ~Poller() = default;

    // Like Handler::Poll(), but also called once in each RunOnce().
    virtual bool Poll() = 0;

    // The loop is about to sleep: from here on, whoever makes work that
    // HasWork() does not see makes a descriptor ready. True: that holds only
    // once a SharedHeavyBarrier() was run. Called again and again without
    // EndSleep() between.
    virtual bool BeginSleep() = 0;
    // After BeginSleep(), and that barrier: whether there is work already.
    virtual bool HasWork() = 0;
    // It no longer sleeps.
    virtual void EndSleep() = 0;
  };

  // Destroys what was posted or set and did not run.
  ~EventLoop();

  // `log` may be empty.
  static absl::StatusOr<std::unique_ptr<EventLoop>> Create(
      Environment& environment, LogSink log = nullptr);

  // Runs `task` on the loop, after what was posted before.
  void Post(Task task);

  // Runs `task` on the loop once `at` has come. A node has few timers, so they
  // are searched and not sorted; none allocates once as many were set before,
  // if the task captures no more than a pointer. Returns what Cancel() takes;
  // never 0.
  uint64_t RunAt(TimeNs at, Task task);

  // Forgets a timer. A timer that ran, runs or was never there is no error.
  void Cancel(uint64_t timer);

  // Calls `handler` when one of `events` is true of `fd`, until Unwatch().
  absl::Status Watch(int fd, uint32_t events, Handler& handler);

  // Waits for other events of a descriptor that is watched.
  absl::Status Rewatch(int fd, uint32_t events);

  // After this returns, the handler of `fd` is not called again.
  void Unwatch(int fd);

  // Looks at `poller` too, until RemovePoller(). On the threads of Watch().
  void AddPoller(Poller& poller);
  void RemovePoller(Poller& poller);

  // On the threads of Watch().
  void SetSpinning(int fd, Spinning spinning);

  // Makes a spinning loop ask the kernel at its next look, for a handler that
  // waits for what its Poll() does not see, such as EPOLLOUT. Call it in each
  // Poll(). On the loop.
  void AskKernel() { asks_kernel_ = true; }

  // Runs what is due. If nothing was, waits for something until `deadline`,
  // spinning over the handlers' Poll() for the first `spin_ns` of that, or
  // less if others need the CPU (SpinBackoff).
  // Returns at once if another thread runs the loop.
  enum class Ran { kNothing, kSomething, kOtherThread };
  Ran RunOnce(TimeNs deadline, int64_t spin_ns) {
    return RunOnce(deadline, spin_ns, interrupts());
  }
  // The same, but waits for nothing if interrupts() is not `seen` any more. For
  // one of several threads that take turns: a wake-up before its turn reached
  // only the thread that ran the loop then.
  Ran RunOnce(TimeNs deadline, int64_t spin_ns, uint32_t seen);

  // Looks at the pollers for a fraction of a microsecond, and at nothing else,
  // not even a clock: for a caller that comes again and again while work comes
  // fast. Returns whether something ran. Now and then it returns false though
  // there is work, so that RunOnce() gets its turn.
  bool RunQuickly();

  // From here on the loop can be borrowed. Not for a loop whose tasks belong on
  // the thread that asks for them.
  void SetLending() { lends_.store(true, std::memory_order_relaxed); }

  // Does not wait. True: the thread that runs the loop sleeps, and until
  // GiveBack() the caller is in the loop instead. False: that thread does not
  // sleep, or nobody runs the loop, or the loop is not to be lent, or is lent
  // already.
  bool TryBorrow() {
    uint32_t expected = kAsleep;
    // Acquire: what the last thread did happened before.
    if (!state_.compare_exchange_strong(expected, kLent,
                                        std::memory_order_acquire)) {
      return false;
    }
    runner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
    return true;
  }
  // REQUIRES: the caller has borrowed it.
  void GiveBack();
  // Whether a thread waits for the borrower, which then should not go on for
  // long.
  bool IsAwaited() const {
    return state_.load(std::memory_order_relaxed) == kLentAwaited;
  }

  // Makes a waiting RunOnce() return.
  void Wake();
  // The same, and has each thread look that has seen interrupts() before.
  void Interrupt() {
    // Before Wake(): the thread that hears of it has let the next one see it.
    interrupts_.fetch_add(1, std::memory_order_release);
    Wake();
  }
  uint32_t interrupts() const {
    return interrupts_.load(std::memory_order_acquire);
  }

  // The same, for a caller that has stored something (sequentially consistent,
  // or by a read-modify-write) that a poller's HasWork() looks for. Costs
  // nothing while the loop is awake.
  void WakeIfAsleep() {
    if (sleeping_.load() || shown_.load()) Wake();
  }

  // Whether the calling thread is inside RunOnce(), or has borrowed the loop.
  bool InLoop() const {
    return runner_.load(std::memory_order_relaxed) ==
           std::this_thread::get_id();
  }

  // A descriptor that is readable when RunOnce() would find work, timers that
  // are due included, for a caller that has an epoll loop of its own. From the
  // first call on it is kept so, which costs a system call for each task posted
  // and each timer that becomes the first.
  int descriptor();
  // The same descriptor, but timers and tasks may not be seen in it.
  int bare_descriptor() const { return interests_.fd(); }

 private:
  static constexpr int kEventsMax = 64;
  static constexpr int kLooksSkippedMax = 4096;
  static constexpr int kQuickRounds = 16;
  static constexpr int kQuickTurnsMax = 16;
  // What a descriptor's handler must have found in a millisecond to be worth
  // taking it out for a spell that ends: several times what that costs.
  static constexpr int kMuchWork = 64;

  struct Timer {
    TimeNs at;
    uint64_t id;
    Task task;
  };

  struct Watched {
    Handler* handler;
    Spinning spinning;
    uint64_t since;  // `waits_` when it was watched.
  };
  struct Spinner {
    int fd;
    Handler* handler;
    bool is_alone;
    int found;  // Since it was last thought of taking it out.
  };

  EventLoop(Environment& environment, Fd epoll, Fd wake, Fd timer, LogSink log)
      : environment_(environment),
        log_(std::move(log)),
        backoff_(environment),
        interests_(environment.sys, std::move(epoll)),
        wake_(std::move(wake)),
        timer_(std::move(timer)) {}

  bool RunAsleep(TimeNs deadline);
  bool RunSpinning(TimeNs deadline, int64_t spin_ns);
  bool RunDue();
  bool RunPosted();
  bool RunTimers();
  bool RunReady(TimeNs deadline);
  bool RunPollers();
  bool PreparePollers();
  void EndPollers();
  bool Spin(SpinBackoff::Spell& spell, TimeNs until);
  void RefreshSpinners();
  bool PollNextSpinner();
  bool PollSpinners();
  void TakeOut(TimeNs now, bool spins_for_ever);
  bool PutBack();
  bool HasPosted() const { return posted_.load(); }  // See Post().
  void FindFirstTimer() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ShowFirstTimer() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool SetTimer(TimeNs at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether `timer_` ends a sleep at `until`, or before.
  bool SetAlarm(TimeNs until);
  void OnTimerRang();
  int64_t Sleep(epoll_event* events, TimeNs until);
  // `error`: what the kernel said instead of what is ready, to a loop that
  // would have slept until `deadline`.
  void OnDeaf(int64_t error, TimeNs deadline);
  void DrainWake();
  // Acquire and release: what the last thread did happened before.
  bool BeginRunning() {
    uint32_t expected = kIdle;
    return state_.compare_exchange_strong(expected, kRunning,
                                          std::memory_order_acquire);
  }
  void EndRunning() { state_.store(kIdle, std::memory_order_release); }
  // Around a sleep. The second waits for a borrower.
  void Lend() { state_.store(kAsleep, std::memory_order_release); }
  void TakeBack();

  Environment& environment_;
  const LogSink log_;
  SpinBackoff backoff_;
  InterestList interests_;
  Fd wake_;
  Fd timer_;

  // Who runs the loop. Nobody but a sleeper waits for it, so it is no mutex.
  static constexpr uint32_t kIdle = 0;         // Nobody.
  static constexpr uint32_t kRunning = 1;      // A thread in RunOnce().
  static constexpr uint32_t kAsleep = 2;       // One that sleeps, and lends it.
  static constexpr uint32_t kLent = 3;         // A borrower …
  static constexpr uint32_t kLentAwaited = 4;  // … and the sleeper waits: …
  static constexpr uint32_t kReturned = 5;  // … it is next, and nobody else.
  std::atomic<uint32_t> state_{kIdle};
  std::atomic<uint32_t> interrupts_{0};
  std::atomic<bool> lends_{false};
  std::atomic<std::thread::id> runner_{};

  Mutex mutex_;
  std::vector<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  std::vector<Timer> timers_ ABSL_GUARDED_BY(mutex_);  // In no order.
  uint64_t next_timer_ ABSL_GUARDED_BY(mutex_) = 1;
  TimeNs timer_shows_ ABSL_GUARDED_BY(mutex_) = kNever;  // What it is set to.
  // That has come, or could not be set: it is to be set again.
  bool rang_ ABSL_GUARDED_BY(mutex_) = false;

  std::atomic<bool> posted_{false};          // tasks_ is not empty.
  std::atomic<TimeNs> first_timer_{kNever};  // A copy, to look at unlocked.
  std::atomic<bool> sleeping_{false};        // Post() must write to wake_.
  std::atomic<bool> shown_{false};           // descriptor() was asked for.

  // Used by the running thread only.
  absl::flat_hash_map<int, Watched> handlers_;
  uint64_t waits_ = 0;  // How often the kernel was asked what is ready.
  std::vector<Spinner> spinners_;  // A copy of the handlers, while spinning.
  bool spinners_stale_ = true;
  std::vector<Poller*> pollers_;
  bool pollers_asleep_ = false;  // BeginSleep() was called.
  size_t spin_next_ = 0;         // Which one is looked at first.
  int looks_skipped_ = 0;
  bool asks_kernel_ = false;
  int quick_turns_ = 0;       // Since RunOnce().
  TimeNs looked_at_ = 0;      // When a spinning loop last asked the kernel.
  TimeNs took_out_at_ = 0;    // Or thought of it.
  bool slept_ = true;         // Since then.
  bool is_reported_ = false;  // That some could not be put back.
  bool is_deaf_ = false;      // The kernel would not say what is ready.
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_EVENT_LOOP_H_
