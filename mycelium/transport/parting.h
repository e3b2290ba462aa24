#ifndef MYCELIUM_TRANSPORT_PARTING_H_
#define MYCELIUM_TRANSPORT_PARTING_H_

#include <atomic>
#include <optional>
#include <utility>

#include "proto/mycelium/v1/control.pb.h"

namespace mycelium {

// How far the two ends of a connection have taken leave of each other. The side
// that leaves says Goodbye, and the other side says it, too. Each side that has
// heard it, and has handed out what the peer had published before, says a final
// Goodbye. The side that has said and heard that one closes the connection
// (docs/wire_format.md).
//
// Thread safety: by the headings below.
class Parting final {
 public:
  // On the loop.

  // Another connection.
  void Begin() {
    heard_.reset();
    peer_leaves_ = false;
    peer_is_done_ = false;
    leaving_.store(false, std::memory_order_relaxed);
    final_wanted_.store(false, std::memory_order_relaxed);
  }

  // This side leaves.
  void Leave() { leaving_.store(true, std::memory_order_release); }

  // The peer has said Goodbye. What it had published comes first: Answer() is
  // called when that was handed out.
  void Hear(const v1::Goodbye& goodbye) { heard_ = goodbye; }
  bool has_heard() const { return heard_.has_value(); }
  v1::Goodbye TakeHeard() { return *std::exchange(heard_, std::nullopt); }
  void Answer() {
    peer_leaves_ |= !leaving_.exchange(true, std::memory_order_acq_rel);
    // Pairs with final_wanted(): what is acknowledged now goes before it.
    final_wanted_.store(true, std::memory_order_release);
  }
  void HearFinal() { peer_is_done_ = true; }

  // Whether what the peer has acknowledged is its own to count. A peer that has
  // not said its final Goodbye may have died with what it had. But a peer that
  // leaves has ended its subscriptions, and counts what came for them.
  bool peer_counts() const { return peer_leaves_ || peer_is_done_; }

  // Whether this side leaves and has no answer yet. Should the peer never
  // answer, it counts what it publishes until it hears of that.
  bool holds_back() const {
    return leaving_.load(std::memory_order_relaxed) && !has_heard() &&
           !final_wanted_.load(std::memory_order_relaxed);
  }

  bool is_over() const {
    return peer_is_done_ && final_written_.load(std::memory_order_acquire);
  }

  // Any thread.

  // No more data is to be sent, only Goodbye.
  bool is_leaving() const { return leaving_.load(std::memory_order_acquire); }
  bool final_wanted() const {
    return final_wanted_.load(std::memory_order_acquire);
  }

  // Inside the gate.

  void BeginSending() {
    said_ = false;
    final_said_ = false;
    final_written_.store(false, std::memory_order_relaxed);
  }
  bool has_said() const { return said_; }
  bool has_said_final() const { return final_said_; }
  void NoteSaid() { said_ = true; }
  void NoteFinalSaid() { final_said_ = true; }
  // Whether that is new.
  bool NoteFinalWritten() { return !final_written_.exchange(true); }

 private:
  std::optional<v1::Goodbye> heard_;
  bool peer_leaves_ = false;   // And was the first to say so.
  bool peer_is_done_ = false;  // Has said its final Goodbye.

  std::atomic<bool> leaving_{false};
  std::atomic<bool> final_wanted_{false};   // It has said one, and we have all.
  std::atomic<bool> final_written_{false};  // Our last word is out.

  bool said_ = false, final_said_ = false;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_PARTING_H_
