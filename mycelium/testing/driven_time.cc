#include "mycelium/testing/driven_time.h"

namespace mycelium {
namespace {

// The first second of 2000, so that nobody takes it for a time of day.
constexpr int64_t kEpochNs = 946'684'800'000'000'000;

}  // namespace

BusOptions DrivenTime::Options() {
  BusOptions options;
  options.poll = PollMode::kCaller;
  options.wait = WaitMode::kBlock;
  options.environment = &environment_;
  return options;
}

void DrivenTime::Advance(absl::Duration duration) {
  world_.MoveTo(DeadlineAfter(world_.now(), duration));
}

absl::Duration DrivenTime::Elapsed() const {
  return absl::Nanoseconds(world_.now() - kStartNs);
}

absl::Time DrivenTime::Now() const {
  return absl::FromUnixNanos(world_.wall());
}

int64_t DrivenTime::World::wall() const { return kEpochNs + now() - kStartNs; }

void DrivenTime::World::MoveTo(TimeNs time) {
  TimeNs now = now_.load();
  while (now < time && !now_.compare_exchange_weak(now, time)) {
  }
}

void DrivenTime::World::WaitWord(const std::atomic<uint32_t>& word,
                                 uint32_t expected, TimeNs deadline) {
  if (word.load() != expected) return;
  if (deadline != kNever) return MoveTo(deadline);
  Environment::Real().waiter.WaitWord(word, expected, kNever);
}

void DrivenTime::World::WakeWord(const std::atomic<uint32_t>& word) {
  Environment::Real().waiter.WakeWord(word);
}

int64_t DrivenTime::World::WaitEpoll(int epoll_fd, epoll_event* events,
                                     int events_max, TimeNs deadline) {
  const TimeNs real_deadline = deadline == kNever ? kNever : 0;
  const int64_t ready = Environment::Real().waiter.WaitEpoll(
      epoll_fd, events, events_max, real_deadline);
  if (ready == 0 && deadline != kNever) MoveTo(deadline);
  return ready;
}

}  // namespace mycelium
