#include "mycelium/base/spin_backoff.h"

#include <algorithm>

namespace mycelium {

SpinBackoff::Spell::Spell(SpinBackoff& backoff, TimeNs now, int64_t spin_ns,
                          TimeNs deadline)
    : backoff_(backoff),
      yields_(spin_ns != kNever),
      rests_(yields_ &&
             now < backoff.rests_until_.load(std::memory_order_relaxed)),
      end_(
          std::min(deadline, spin_ns >= kNever - now ? kNever : now + spin_ns)),
      last_look_(now),
      next_yield_(now + kGiveWayNs) {
  if (rests_) end_ = std::min(end_, now);
}

bool SpinBackoff::Spell::GoesOn(TimeNs now) {
  if (now >= end_) return false;
  if (!yields_) return true;
  if (now - last_look_ >= kLostNs) return Lost(now - last_look_, now);
  last_look_ = now;
  return now < next_yield_ || Yield(now);
}

bool SpinBackoff::Spell::Yield(TimeNs now) {
  backoff_.environment_.waiter.GiveWay();
  const TimeNs back = backoff_.environment_.clock.NowNs();
  if (back - now >= kLostNs) return Lost(back - now, back);
  last_look_ = back;
  next_yield_ = back + kGiveWayNs;
  // Even if it is too late by now: what came meanwhile has not been looked for.
  return true;
}

bool SpinBackoff::Spell::Lost(int64_t ns, TimeNs now) {
  const int64_t rest_ns = std::min(ns, kRestNsMax / kRestFactor) * kRestFactor;
  backoff_.rests_until_.store(now + rest_ns, std::memory_order_relaxed);
  end_ = now;
  return false;
}

}  // namespace mycelium
