"""What the checker must find: one change of the real source each.

`old` stands in the file exactly once; a change that no longer applies is a
failure, so the list follows the code.
"""

import collections

Mutation = collections.namedtuple("Mutation", "name file old new scenarios")

_LANE = "mycelium/transport/lane/"
_RING = _LANE + "ring.cc"
_RING_INLINE = _LANE + "ring.h"
_LOSSY = _LANE + "lossy_ring.cc"
_POSITIONS = _LANE + "lane_positions.h"
_BIAS = "mycelium/base/bias.h"
_INBOUND = "mycelium/transport/inbound_ring.cc"
_INBOUND_INLINE = "mycelium/transport/inbound_ring.h"

_LOSSLESS = ["lossless"]
_SLEEPING = ["sleeping"]
_DROPPING = ["lossy"]
_DRAINING = ["lossy_draining"]
_HANDED_ON = ["handed_on"]
_BIASED = ["bias"]


def _weaker(name, file, old, order, weaker, scenarios):
    """`old` with its memory order made weaker."""
    assert old.count(order) == 1, (name, old)
    return Mutation(name, file, old, old.replace(order, weaker), scenarios)


_ACQUIRE = "std::memory_order_acquire"
_RELEASE = "std::memory_order_release"
_BOTH = "std::memory_order_acq_rel"
_RELAXED = "std::memory_order_relaxed"

_RING_COMMIT = """\
  ClearCommit(At(next));
  FinishCommit(At(claim_start_), next);
"""
_RING_STORE = "  StoreCommit(room, claim_bytes_);\n"
_RING_PAD = "  if (claim_start_ != position_) CommitPad();\n"
_COPY_REST = "  if (fills_line) {\n"
_PAD_STORES = """\
  CopyToShared(pad + offsetof(FrameHeader, flags), &flags, sizeof flags);
  StoreCommit(pad, static_cast<uint32_t>(claim_start_ - position_));
"""
_BARE_COMMIT = """\
    const uint32_t frame_bytes = LoadCommit(frame);
    const Bare none = {nullptr, 0, at};
    if (frame_bytes < sizeof(FrameHeader) || frame_bytes > frame_bytes_max ||
        frame_bytes > memory_.size() - offset) {
      return none;
    }
"""
_BARE_FIELDS = """\
    // Copied, not looked at in place, since the writer may change them.
    uint32_t flags_and_extension;
    uint64_t found_sequence;
    static_assert(offsetof(FrameHeader, extension_bytes) ==
                  offsetof(FrameHeader, flags) + 2);
    CopyFromShared(&flags_and_extension, frame + offsetof(FrameHeader, flags),
                   sizeof flags_and_extension);
    CopyFromShared(&found_sequence,
                   frame + offsetof(FrameHeader, lane_sequence),
                   sizeof found_sequence);
"""
_LOSSY_CLEAR = (
    "  SharedWordAt<uint32_t>(At(end)).store(0, std::memory_order_relaxed);\n"
)
_LOSSY_COMMIT = "  StoreCommit(At(reserved_start_), reserved_bytes_);\n"
_LOSSY_PAD = """\
  if (reserved_start_ != position_) {
    // The reader stands before the pad, so the pad's commit comes last.
    const uint16_t flags = kFramePad;
    CopyToShared(At(position_) + offsetof(FrameHeader, flags), &flags,
                 sizeof flags);
    StoreCommit(At(position_),
                static_cast<uint32_t>(reserved_start_ - position_));
  }
"""
_HELD = "      positions_.held.store(next, std::memory_order_release);\n"
_TAKE = """\
    if (!positions_.next.compare_exchange_strong(next, next + aligned,
                                                 std::memory_order_acq_rel)) {
      continue;
    }
    if (is_pad) continue;
"""
_DROP = """\
    if (!positions_.next.compare_exchange_strong(next, entry.end,
                                                 std::memory_order_release)) {
"""

_LOSSLESS_RING = [
    _weaker(
        "commit word loaded relaxed",
        _RING_INLINE,
        "SharedWordAt<uint32_t>(header).load(std::memory_order_acquire)",
        _ACQUIRE,
        _RELAXED,
        _LOSSLESS,
    ),
    _weaker(
        "commit word stored relaxed",
        _RING_INLINE,
        "SharedWordAt<uint32_t>(header).store(frame_bytes,\n"
        "                                         std::memory_order_release)",
        _RELEASE,
        _RELAXED,
        _LOSSLESS,
    ),
    _weaker(
        "released loaded relaxed",
        _RING,
        "positions_.released.load(std::memory_order_acquire)",
        _ACQUIRE,
        _RELAXED,
        _LOSSLESS,
    ),
    _weaker(
        "released stored relaxed",
        _RING,
        "positions_.released.store(cursor(), std::memory_order_release)",
        _RELEASE,
        _RELAXED,
        _LOSSLESS,
    ),
    Mutation(
        "released stored before the frame is read",
        _RING_INLINE,
        "    cursor_.store(at + AlignedFrameBytes(view->header.frame_bytes),\n",
        "    positions_.released.store(\n"
        "        at + AlignedFrameBytes(view->header.frame_bytes),\n"
        "        std::memory_order_release);\n"
        "    cursor_.store(at + AlignedFrameBytes(view->header.frame_bytes),\n",
        _LOSSLESS,
    ),
    Mutation(
        "next commit word cleared after the commit",
        _RING_INLINE,
        _RING_COMMIT,
        "\n".join(reversed(_RING_COMMIT.rstrip().split("\n"))) + "\n",
        _LOSSLESS,
    ),
    Mutation(
        "next commit word not cleared",
        _RING_INLINE,
        "  ClearCommit(At(next));\n",
        "",
        _LOSSLESS,
    ),
    Mutation(
        "next commit word not cleared for a frame made elsewhere",
        _RING_INLINE,
        "  ClearCommit(memory + (next & mask));\n",
        "",
        _LOSSLESS,
    ),
    Mutation(
        "commit word not cleared at the start of a lap",
        _RING_INLINE,
        "  ClearCommit(At(next));\n",
        "  if ((next & (capacity() - 1)) != 0) ClearCommit(At(next));\n",
        _LOSSLESS,
    ),
    Mutation(
        "commit word not cleared at the start of a lap for a frame made elsewhere",
        _RING_INLINE,
        "  ClearCommit(memory + (next & mask));\n",
        "  if ((next & mask) != 0) ClearCommit(memory + (next & mask));\n",
        _LOSSLESS,
    ),
    Mutation(
        "frame made elsewhere committed before it is copied",
        _RING_INLINE,
        _COPY_REST,
        "  Commit();\n" + _COPY_REST,
        _LOSSLESS,
    ),
    Mutation(
        "pad committed before its frame",
        _RING_INLINE,
        _RING_STORE + _RING_PAD,
        _RING_PAD + _RING_STORE,
        _LOSSLESS,
    ),
    Mutation(
        "pad committed before its flags",
        _RING,
        _PAD_STORES,
        "\n".join(reversed(_PAD_STORES.rstrip().split("\n"))) + "\n",
        _LOSSLESS,
    ),
    Mutation(
        "claim without room for the next commit word",
        _RING_INLINE,
        "    return end + kFrameAlignment <= limit_ || FitsBehind(end);\n",
        "    return end <= limit_ || FitsBehind(end);\n",
        _LOSSLESS,
    ),
    Mutation(
        "claim that forgets the pad",
        _RING_INLINE,
        "  if (!Fits(start + aligned)) return false;\n",
        "  if (!Fits(position_ + aligned)) return false;\n",
        _LOSSLESS,
    ),
    Mutation(
        "claim before it was looked at whether there is room",
        _RING_INLINE,
        "  if (!Fits(start + aligned)) return false;\n",
        "  (void)Fits(start + aligned);\n",
        _LOSSLESS,
    ),
    Mutation(
        "reader's limit is a lap and a word",
        _RING,
        "  limit_ = released + capacity();\n",
        "  limit_ = released + capacity() + kFrameAlignment;\n",
        _LOSSLESS,
    ),
]

# What takes a bare frame. Only scenarios with an InboundRing go there.
_BARE_FRAME = [
    Mutation(
        "bare: fields read before the commit word",
        _RING_INLINE,
        _BARE_COMMIT + _BARE_FIELDS,
        _BARE_FIELDS + _BARE_COMMIT,
        ["inbound"],
    ),
    Mutation(
        "bare: released stored before the frame is read",
        _INBOUND_INLINE,
        "  if (found.frame == nullptr) return false;\n",
        "  if (found.frame == nullptr) return false;\n"
        "  positions_.ring.released.store(found.end,\n"
        "                                 std::memory_order_release);\n",
        ["inbound"],
    ),
]

_WAITING = [
    _weaker(
        "room of a handled frame given back relaxed",
        _INBOUND_INLINE,
        "released.store(pending_end_, std::memory_order_release)",
        _RELEASE,
        _RELAXED,
        _SLEEPING,
    ),
    _weaker(
        "room of a frame that another thread handled given back relaxed",
        _INBOUND,
        "before, end, std::memory_order_seq_cst)",
        "std::memory_order_seq_cst",
        _RELAXED,
        _HANDED_ON,
    ),
    Mutation(
        "what another thread handled is stored without a look",
        _INBOUND,
        "  while (before < end && !handled.compare_exchange_weak(\n"
        "                             before, end, std::memory_order_seq_cst)) {\n"
        "  }\n",
        "  if (before < end) handled.store(end, std::memory_order_seq_cst);\n",
        _HANDED_ON,
    ),
    Mutation(
        "reader does not say that it sleeps",
        _INBOUND_INLINE,
        "    positions_.Sleep();\n",
        "",
        _SLEEPING,
    ),
    Mutation(
        "sleeping read by a load where no barrier is promised",
        _POSITIONS,
        "(std::memory_order_relaxed) == kAwakeBehindBarrier",
        "(std::memory_order_relaxed) != kAsleep",
        _SLEEPING,
    ),
    Mutation(
        "barrier promised and not run",
        _INBOUND_INLINE,
        "    return std::exchange(has_promised_, false);\n",
        "    return false;\n",
        _SLEEPING,
    ),
    Mutation(
        "barrier promised and forgotten",
        _INBOUND,
        "  has_promised_ |= positions_.PromiseBarrier();\n",
        "  (void)positions_.PromiseBarrier();\n",
        _SLEEPING,
    ),
    _weaker(
        "sleeping set without acquire",
        _POSITIONS,
        "sleeping.exchange(kAsleep, std::memory_order_acq_rel)",
        _BOTH,
        _RELEASE,
        _SLEEPING,
    ),
    _weaker(
        "sleeping read without release",
        _POSITIONS,
        "sleeping.fetch_add(0, std::memory_order_acq_rel)",
        _BOTH,
        _ACQUIRE,
        _SLEEPING,
    ),
    Mutation(
        "sleeping read by a load",
        _POSITIONS,
        "sleeping.fetch_add(0, std::memory_order_acq_rel)",
        "sleeping.load(std::memory_order_acquire)",
        _SLEEPING,
    ),
    Mutation(
        "sleeping ended by a store",
        _POSITIONS,
        "sleeping.exchange(kAwake, std::memory_order_relaxed)",
        "sleeping.store(kAwake, std::memory_order_relaxed)",
        _SLEEPING,
    ),
    Mutation(
        "an earlier wish to be woken is believed",
        _POSITIONS,
        "    while (!wake_at.compare_exchange_weak(",
        "    while (at < asked && !wake_at.compare_exchange_weak(",
        _SLEEPING,
    ),
    _weaker(
        "wake_at set without acquire",
        _POSITIONS,
        "asked, std::min(at, asked),\n"
        "                                          std::memory_order_acq_rel)",
        _BOTH,
        _RELEASE,
        _SLEEPING,
    ),
    _weaker(
        "wake_at read without release",
        _POSITIONS,
        "wish = wake_at.fetch_add(0, std::memory_order_acq_rel);",
        _BOTH,
        _ACQUIRE,
        _SLEEPING,
    ),
    Mutation(
        "wake_at read by a load",
        _POSITIONS,
        "wish = wake_at.fetch_add(0, std::memory_order_acq_rel);",
        "wish = wake_at.load(std::memory_order_acquire);",
        _SLEEPING,
    ),
    Mutation(
        "writer woken one position late",
        _POSITIONS,
        "wish <= let_go()",
        "wish < let_go()",
        _SLEEPING,
    ),
    Mutation(
        "what was let go is looked at before the wish",
        _POSITIONS,
        "    const uint64_t wish = wake_at.fetch_add(0, std::memory_order_acq_rel);\n"
        "    return wish != kNobodyWaits && wish <= let_go() &&",
        "    const uint64_t at = let_go();\n"
        "    const uint64_t wish = wake_at.fetch_add(0, std::memory_order_acq_rel);\n"
        "    return wish != kNobodyWaits && wish <= at &&",
        _SLEEPING,
    ),
    Mutation(
        "writer asks for a position too far",
        _RING,
        "  return end > capacity() ? end - capacity() : 0;\n",
        "  return end;\n",
        _SLEEPING,
    ),
]

_LOSSY_RING = [
    _weaker(
        "lossy: commit word stored relaxed",
        _LOSSY,
        "SharedWordAt<uint32_t>(header).store(frame_bytes, "
        "std::memory_order_release)",
        _RELEASE,
        _RELAXED,
        _DROPPING,
    ),
    _weaker(
        "lossy: next loaded relaxed by the writer",
        _LOSSY,
        "  // Acquire: what the reader held when it moved the cursor is seen "
        "below.\n"
        "  const uint64_t next = "
        "positions_.next.load(std::memory_order_acquire);\n",
        _ACQUIRE,
        _RELAXED,
        _DROPPING,
    ),
    _weaker(
        "lossy: held loaded relaxed",
        _LOSSY,
        "positions_.held.load(std::memory_order_acquire)",
        _ACQUIRE,
        _RELAXED,
        _DROPPING,
    ),
    Mutation(
        "lossy: held loaded before next",
        _LOSSY,
        "  const uint64_t next = "
        "positions_.next.load(std::memory_order_acquire);\n"
        "  uint64_t first = first_;\n",
        "  held_before = positions_.held.load(std::memory_order_acquire);\n"
        "  const uint64_t next = "
        "positions_.next.load(std::memory_order_acquire);\n"
        "  uint64_t first = first_;\n",
        _DROPPING,
    ),
    _weaker(
        "lossy: held stored relaxed",
        _LOSSY,
        _HELD,
        _RELEASE,
        _RELAXED,
        _DROPPING,
    ),
    Mutation(
        "lossy: held stored after the frame is taken",
        _LOSSY,
        _HELD + "    }\n" + _TAKE,
        "    }\n" + _TAKE + _HELD,
        _DROPPING,
    ),
    _weaker(
        "lossy: taken without release",
        _LOSSY,
        _TAKE,
        _BOTH,
        _ACQUIRE,
        _DROPPING,
    ),
    Mutation(
        "lossy: taken by a store",
        _LOSSY,
        _TAKE,
        "    positions_.next.store(next + aligned, std::memory_order_release);\n"
        "    if (is_pad) continue;\n",
        _DROPPING,
    ),
    _weaker(
        "lossy: let go relaxed",
        _LOSSY,
        "  positions_.held.store(LossyPositions::kNothingHeld,\n"
        "                        std::memory_order_release);\n"
        "}\n",
        _RELEASE,
        _RELAXED,
        _DROPPING,
    ),
    _weaker(
        "lossy: dropped without release",
        _LOSSY,
        _DROP,
        _RELEASE,
        _RELAXED,
        _DROPPING,
    ),
    Mutation(
        "lossy: dropped without a fence",
        _LOSSY,
        "    ReleaseFence();\n",
        "",
        _DROPPING,
    ),
    Mutation(
        "lossy: dropped by a store",
        _LOSSY,
        _DROP + "      continue;\n    }\n",
        "    positions_.next.store(entry.end, std::memory_order_release);\n",
        _DROPPING,
    ),
    Mutation(
        "lossy: next commit word cleared after the commit",
        _LOSSY,
        _LOSSY_CLEAR + _LOSSY_COMMIT,
        _LOSSY_COMMIT + _LOSSY_CLEAR,
        _DROPPING,
    ),
    Mutation(
        "lossy: next commit word not cleared",
        _LOSSY,
        _LOSSY_CLEAR,
        "",
        _DROPPING,
    ),
    Mutation(
        "lossy: pad committed before its frame",
        _LOSSY,
        _LOSSY_COMMIT + _LOSSY_PAD,
        _LOSSY_PAD + _LOSSY_COMMIT,
        _DROPPING,
    ),
    Mutation(
        "lossy: written over what is held",
        _LOSSY,
        "  const bool avoid = HoldsTaken();\n",
        "  const bool avoid = false;\n",
        _DROPPING,
    ),
    Mutation(
        "lossy: who finishes a frame lets go of any",
        _INBOUND,
        "  if (held_sequence_.load(std::memory_order_relaxed) != sequence) "
        "return;\n",
        "  (void)sequence;\n",
        _DRAINING,
    ),
    Mutation(
        "lossy: who finishes a frame lets go without a look",
        _INBOUND,
        "  (void)positions_.lossy.held.compare_exchange_strong(\n"
        "      at, LossyPositions::kNothingHeld, std::memory_order_release);\n",
        "  (void)at;\n"
        "  positions_.lossy.held.store(LossyPositions::kNothingHeld,\n"
        "                              std::memory_order_release);\n",
        _DRAINING,
    ),
    _weaker(
        "lossy: held_at_ stored relaxed",
        _INBOUND,
        "  held_at_.store(positions_.lossy.held.load(std::memory_order_relaxed),\n"
        "                 std::memory_order_release);\n",
        _RELEASE,
        _RELAXED,
        _DRAINING,
    ),
    _weaker(
        "lossy: held_at_ loaded relaxed",
        _INBOUND,
        "  uint64_t at = held_at_.load(std::memory_order_acquire);\n",
        _ACQUIRE,
        _RELAXED,
        _DRAINING,
    ),
    _weaker(
        "lossy: let go by who finishes a frame relaxed",
        _INBOUND,
        "      at, LossyPositions::kNothingHeld, std::memory_order_release);",
        _RELEASE,
        _RELAXED,
        _DRAINING,
    ),
    _weaker(
        "lossy: next loaded relaxed by who looks",
        _LOSSY,
        "  for (int tries = 0; tries < kTriesMax; ++tries) {\n"
        "    const uint64_t next = "
        "positions_.next.load(std::memory_order_acquire);",
        _ACQUIRE,
        _RELAXED,
        _DROPPING,
    ),
    _weaker(
        "lossy: next loaded relaxed by who takes",
        _LOSSY,
        "    uint64_t next = positions_.next.load(std::memory_order_acquire);",
        _ACQUIRE,
        _RELAXED,
        _DROPPING,
    ),
    Mutation(
        "lossy: claim without room for the next commit word",
        _LOSSY,
        "  const uint64_t span = aligned + kFrameAlignment;\n",
        "  const uint64_t span = aligned;\n",
        _DROPPING,
    ),
    Mutation(
        "lossy: a dropped frame's bytes are believed",
        _LOSSY,
        "      if (positions_.next.load(std::memory_order_acquire) != next) "
        "continue;\n"
        "      Release();\n",
        "      Release();\n",
        _DROPPING,
    ),
    Mutation(
        "lossy: a dropped frame's bytes are no frame",
        _LOSSY,
        "    if (positions_.next.load(std::memory_order_acquire) == next) "
        "return false;\n",
        "    return false;\n",
        _DROPPING,
    ),
]

# What a mutation needs besides, in the same file: (name, old, new).
ALSO = {
    "lossy: held loaded before next": [
        (
            "constexpr int kTriesMax = 1024;\n",
            "constexpr int kTriesMax = 1024;\nuint64_t held_before;\n",
        ),
        (
            "      positions_.held.load(std::memory_order_acquire) == "
            "taken_.frame;\n",
            "      held_before == taken_.frame;\n",
        ),
    ],
}

_BIAS_LOCK = [
    _weaker(
        "bias: who leaves stores relaxed",
        _BIAS,
        "inside_[key % kSlots].word.store(0, std::memory_order_release);",
        _RELEASE,
        _RELAXED,
        _BIASED,
    ),
    _weaker(
        "bias: who takes loads relaxed",
        _BIAS,
        "inside_[key % kSlots].word.load(std::memory_order_acquire)",
        _ACQUIRE,
        _RELAXED,
        _BIASED,
    ),
    Mutation(
        "bias: taken without a barrier",
        _BIAS,
        "    barrier();\n",
        "",
        _BIASED,
    ),
    Mutation(
        "bias: barrier before it is taken",
        _BIAS,
        "    owner_.store(kNobody, std::memory_order_relaxed);\n"
        "    barrier();\n",
        "    barrier();\n"
        "    owner_.store(kNobody, std::memory_order_relaxed);\n",
        _BIASED,
    ),
    Mutation(
        "bias: who takes does not wait",
        _BIAS,
        "    while (IsInside(key)) wait(key);\n",
        "",
        _BIASED,
    ),
    Mutation(
        "bias: who enters does not look again",
        _BIAS,
        "    LightBarrier();\n"
        "    return owner_.load(std::memory_order_relaxed) == key;\n",
        "    return true;\n",
        _BIASED,
    ),
    Mutation(
        "bias: who leaves wakes nobody",
        _BIAS,
        "    LightBarrier();\n"
        "    return owner_.load(std::memory_order_relaxed) != key;\n",
        "    return false;\n",
        _BIASED,
    ),
    Mutation(
        "bias: a slot is given to two",
        _BIAS,
        "      if (users_[slot] != kNobody) continue;\n",
        "",
        _BIASED,
    ),
    Mutation(
        "bias: who returns frees the slots of others",
        _BIAS,
        "      if (user == thread) user = kNobody;\n",
        "      user = kNobody;\n",
        _BIASED,
    ),
]

ALL = _LOSSLESS_RING + _BARE_FRAME + _WAITING + _LOSSY_RING + _BIAS_LOCK
