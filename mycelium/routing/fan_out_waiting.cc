// The part of FanOut that waits for room in full lanes.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "mycelium/routing/fan_out.h"

namespace mycelium {
namespace {

// A wait for room that takes this long may be in vain, and is looked into …
constexpr int64_t kFirstLookNs = 10'000'000;
// … and again, since others may have begun to wait.
constexpr int64_t kNextLookNs = 50'000'000;

// How far a reader that has fallen behind gets ahead of the publisher, if it
// can do so soon. Otherwise the two meet at each message: over the word that
// tells of room, and over cache lines that the reader has still to read when
// the publisher asks for them to write to (base/prefetch.h).
constexpr size_t kRunBytes = 32 << 10;

}  // namespace

absl::Status FanOut::Overcome(const Obstacle& obstacle, bool may_wait,
                              Waits* waits) {
  Lane& lane = *obstacle.lane;
  if (obstacle.result == Lane::ClaimResult::kTooLarge) {
    return absl::InvalidArgumentError(absl::StrCat(
        lane.name(), ": frame of ", obstacle.frame_bytes,
        " bytes is larger than the ", lane.frame_bytes_max(), " allowed"));
  }
  if (obstacle.overflow == Overflow::kDisconnect) {
    options_.disconnect(lane);
    return absl::OkStatus();
  }
  absl::Status status = WaitForRoom(obstacle, may_wait, waits);
  if (!status.ok()) {
    room_notice_.NoteFull(obstacle.lane, obstacle.frame_bytes);
    // A thread that takes the route away from here on sees that note. If the
    // route went before, we see it.
    if (routes_number_.load(std::memory_order_acquire) != obstacle.routes) {
      room_notice_.OnRouteGone(lane);
    }
  }
  return status;
}

absl::Status FanOut::WaitForRoom(const Obstacle& obstacle, bool may_wait,
                                 Waits* waits) {
  Lane& lane = *obstacle.lane;
  const auto full = [&](absl::string_view why) {
    const std::string trouble = lane.reader_trouble().Get();
    return absl::ResourceExhaustedError(absl::StrCat(
        lane.name(), ": lane full, frame needs ", obstacle.frame_bytes, " of ",
        lane.capacity_bytes(), " bytes; ", why,
        trouble.empty() ? "" : "; the peer cannot read it now: ", trouble,
        "; message not sent"));
  };
  if (lane.reader_away()) {
    return absl::UnavailableError(absl::StrCat(
        lane.name(),
        ": lane full and its subscriber is out of reach; message not sent"));
  }
  if (obstacle.overflow == Overflow::kFail) return full("overflow is fail");
  if (obstacle.subscription != nullptr &&
      obstacle.subscription->IsConsumedByThisThread()) {
    return full("only this thread could make room");
  }
  const absl::Duration timeout =
      options_.publish_timeout.value_or(obstacle.publish_timeout);
  if (lane.stalled(absl::ToInt64Nanoseconds(timeout))) {
    return full(
        "subscriber has stalled: it was waited for as long in vain, and is not "
        "again until it has moved");
  }
  if (!may_wait) return full("it was not waited for");
  const TimeNs now = environment_.clock.NowNs();
  const bool is_first = waits->lane == nullptr;
  if (is_first) waits->since = now;
  if (waits->lane != &lane) waits->lane_since = now;
  waits->lane = &lane;
  waits->longest = std::max(waits->longest, timeout);
  const TimeNs deadline = std::min(DeadlineAfter(waits->lane_since, timeout),
                                   DeadlineAfter(waits->since, waits->longest));
  // No stall: this lane has not kept the call so long.
  if (!is_first && now >= deadline) {
    return full(
        absl::StrCat("waited ", absl::FormatDuration(waits->longest),
                     " for room in several lanes, or that others took"));
  }
  LetReaderGetAhead(obstacle, deadline);
  uint64_t released = lane.released();
  WaitGraph::Wait wait(options_.waits, obstacle.lane, obstacle.subscription);
  const RoomWaiter::Outcome outcome =
      AwaitRoom(obstacle, now, deadline, &wait, &released);
  switch (outcome) {
    case RoomWaiter::Outcome::kReady:
      in_circle_.store(wait.in_circle(), std::memory_order_relaxed);
      if (!wait.in_circle() || IsOver(obstacle)) return absl::OkStatus();
      // No stall: this error makes the subscriber move.
      return full(absl::StrCat("waiting is in vain: ", wait.circle()));
    case RoomWaiter::Outcome::kWouldDeadlock:
      return full("this thread runs the links and must not wait");
    case RoomWaiter::Outcome::kDeadline:
      break;
  }
  lane.MarkStalled(released, environment_.clock.NowNs() - now);
  if (options_.on_stall != nullptr) options_.on_stall(lane);
  return full(absl::StrCat("waited ", absl::FormatDuration(timeout)));
}

bool FanOut::IsOver(const Obstacle& obstacle) const {
  return obstacle.lane->HasRoomOrAsks(obstacle.frame_bytes) || IsGone(obstacle);
}

bool FanOut::IsGone(const Obstacle& obstacle) const {
  return obstacle.lane->reader_away() ||
         routes_number_.load(std::memory_order_acquire) != obstacle.routes;
}

void FanOut::LetReaderGetAhead(const Obstacle& obstacle, TimeNs deadline) {
  Lane& lane = *obstacle.lane;
  // In a lane that is sent, room comes with acknowledgements, many messages at
  // a time.
  const bool is_read_in_place =
      lane.mapped() || obstacle.subscription != nullptr;
  // In a circle the reader does not move.
  if (!is_read_in_place || in_circle_.load(std::memory_order_relaxed)) return;
  const size_t run = std::max(obstacle.frame_bytes,
                              std::min(kRunBytes, lane.capacity_bytes() / 8));
  // No look takes the lane's lock, which other publishers hold while they
  // serialise. If they publish meanwhile there is less room, and the thread
  // that waits looks again.
  const uint64_t goal = lane.ReleasedFor(run);
  const auto is_over = [&] {
    return lane.released() >= goal || lane.closed() || IsGone(obstacle);
  };
  room_waiter_.Rest(is_over, deadline);
}

RoomWaiter::Outcome FanOut::AwaitRoom(const Obstacle& obstacle, TimeNs now,
                                      TimeNs deadline, WaitGraph::Wait* wait,
                                      uint64_t* released) {
  Lane& lane = *obstacle.lane;
  const auto is_over = [&] {
    // Before the look, since it may move after that.
    *released = lane.released();
    return IsOver(obstacle) || wait->in_circle();
  };
  // If the last wait was in a circle, this one looks at once.
  TimeNs look_at =
      in_circle_.load(std::memory_order_relaxed) ? now : now + kFirstLookNs;
  while (true) {
    const RoomWaiter::Outcome outcome = room_waiter_.WaitFor(
        lane.room_event(), is_over, std::min(deadline, look_at));
    if (outcome != RoomWaiter::Outcome::kDeadline || look_at >= deadline) {
      return outcome;
    }
    lane.CheckNextFrame();
    wait->Look(*released);
    look_at = environment_.clock.NowNs() + kNextLookNs;
  }
}

}  // namespace mycelium
