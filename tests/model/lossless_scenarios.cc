#include <algorithm>
#include <memory>
#include <optional>

#include "mycelium/transport/inbound_ring.h"
#include "mycelium/transport/lane/ring.h"
#include "tests/model/frames.h"
#include "tests/model/scenarios.h"

namespace mycelium::model {
namespace {

// Frames that are there from the start.
void CommitFrames(RingWriter& writer, uint64_t count, size_t frame_bytes) {
  for (uint64_t sequence = 1; sequence <= count; ++sequence) {
    FillFrame(sequence, writer.TryClaim(frame_bytes));
    writer.Commit();
  }
}

// One thread writes frames and one reads them: invariants 1 to 5 of
// docs/shm_layout.md.
class LosslessScenario final : public Scenario {
 public:
  struct Options {
    size_t capacity;
    std::vector<size_t> frames;  // Their sizes.
    int tries;                   // Of the writer, for each frame.
    int polls;                   // Of the reader.
    int release_every;           // So many frames.
    // Whether they are read by an InboundRing, which gives back each by itself.
    bool inbound = false;
  };

  LosslessScenario(Explorer& explorer, const Options& options)
      : explorer_(explorer),
        options_(options),
        memory_(std::make_shared<ModelMemory>(options.capacity)),
        writer_(memory_->bytes(), memory_->positions().ring),
        reader_(memory_->bytes(), memory_->positions().ring,
                kFrameFlagsOnWire) {
    if (!options.inbound) return;
    InboundRing::Options inbound;
    inbound.frame_bytes_max = options.capacity / 2;
    inbound_.emplace(memory_, inbound);
  }

  Shared shared() override { return memory_->shared(); }

  void Run(size_t thread) override {
    if (thread == 0) {
      explorer_.memory().on_ring_write = [this](size_t offset, size_t bytes) {
        CheckWrite(offset, bytes);
      };
      for (const size_t bytes : options_.frames) {
        if (!Write(bytes)) return;
      }
    } else {
      for (int i = 0; i < options_.polls; ++i) ReadOne();
    }
  }

  void AtEnd() override {
    explorer_.memory().on_ring_write = nullptr;
    while (ReadOne()) {
    }
    explorer_.Check(next_ == committed_ + 1, "a committed frame is missing");
    if (!inbound_.has_value()) reader_.Release();
    // All the room must be back.
    const size_t bytes = writer_.frame_bytes_max();
    explorer_.Check(writer_.ReleasedFor(bytes) <= read_until_ ||
                        writer_.position() % options_.capacity != 0,
                    "the ring is empty and cannot take a frame");
    explorer_.Check(!writer_.TryClaim(bytes).empty() ||
                        writer_.ReleasedFor(bytes) > read_until_,
                    "room was released and is not found");
  }

 private:
  uint64_t released() {
    return explorer_.memory().Last(&memory_->positions().ring.released, 8);
  }

  // Invariant 3: the writer writes nothing that the reader may look at.
  void CheckWrite(size_t offset, size_t bytes) {
    const uint64_t from = released();
    const uint64_t kept = writer_.position() - from;
    explorer_.Check(!Meet(offset, bytes, from, kept, options_.capacity),
                    "written between `released` and the writer's position");
  }

  bool Write(size_t bytes) {
    for (int i = 0; i < options_.tries; ++i) {
      const absl::Span<std::byte> room = writer_.TryClaim(bytes);
      if (room.empty()) continue;
      sizes_.push_back(bytes);
      ++committed_;
      // In each of the two possible ways, in turn.
      if (committed_ % 2 == 0) {
        FillFrame(committed_, room);
        writer_.Commit();
      } else {
        CommitFilled(committed_, bytes, writer_);
      }
      explorer_.Check(
          explorer_.memory().Last(
              &memory_->bytes()[writer_.position() % options_.capacity], 4) ==
              0,
          "invariant 1: the commit word at the writer's position is not 0");
      explorer_.Check(released() <= read_until_ &&
                          writer_.position() <=
                              released() + options_.capacity - kFrameAlignment,
                      "invariant 2: the writer is more than a lap ahead");
      return true;
    }
    return false;
  }

  bool ReadOne() {
    FrameView view;
    if (!Poll(&view)) return false;
    explorer_.Check(view.header.lane_sequence == next_,
                    "a frame is lost, torn, twice or out of order");
    explorer_.Check(next_ <= sizes_.size() && IsFilled(view, sizes_[next_ - 1]),
                    "a frame has wrong contents");
    ++next_;
    if (inbound_.has_value()) {
      inbound_->Pop(/*handled=*/true);
    } else if ((next_ - 1) % options_.release_every == 0) {
      reader_.Release();
    }
    return true;
  }

  bool Poll(FrameView* view) {
    bool is_corrupt;
    bool is_frame;
    if (inbound_.has_value()) {
      const FrameView* shown;
      const InboundRing::Look look = inbound_->Peek(0, &shown, &read_until_);
      is_corrupt = look == InboundRing::Look::kCorrupt;
      is_frame = look == InboundRing::Look::kFrame;
      if (is_frame) *view = *shown;
    } else {
      const RingReader::Result result = reader_.Poll(view);
      is_corrupt = result == RingReader::Result::kCorrupt;
      is_frame = result == RingReader::Result::kFrame;
      read_until_ = reader_.cursor();
    }
    explorer_.Check(!is_corrupt, "the reader finds the ring corrupt");
    return is_frame;
  }

  Explorer& explorer_;
  const Options options_;
  const std::shared_ptr<ModelMemory> memory_;
  RingWriter writer_;
  RingReader reader_;
  std::optional<InboundRing> inbound_;  // In place of `reader_`.
  uint64_t read_until_ = 0;
  std::vector<size_t> sizes_;
  uint64_t committed_ = 0;
  uint64_t next_ = 1;
};

// The reader sleeps when there is nothing to read, the writer when there is no
// room: invariants 9 and 10, without the last sentence of 10, since the loop
// handles all frames itself. The reader is the product's; the writer does what
// Lane and FramedLink do.
class SleepingScenario final : public Scenario {
 public:
  struct Options {
    size_t capacity;
    size_t frame_bytes;
    uint64_t frames;
    // After so many the reader promises a barrier. 0: it never does.
    int busy_frames;
  };

  SleepingScenario(Explorer& explorer, const Options& options)
      : explorer_(explorer),
        options_(options),
        memory_(std::make_shared<ModelMemory>(options.capacity)),
        writer_(memory_->bytes(), memory_->positions().ring),
        reader_(memory_, InboundOptions(options)) {
    memory_->positions().takes_barriers.store(1);
  }

  Shared shared() override { return memory_->shared(); }

  void Run(size_t thread) override {
    if (thread == 0) {
      for (uint64_t i = 1; i <= options_.frames; ++i) Write(i);
    } else {
      while (read_ < options_.frames) Read();
    }
  }

  void AtEnd() override {
    explorer_.Check(read_ == options_.frames, "a frame is missing");
  }

 private:
  static InboundRing::Options InboundOptions(const Options& options) {
    InboundRing::Options inbound;
    inbound.frame_bytes_max = options.capacity / 2;
    PromiseAfter(options.busy_frames, &inbound);
    return inbound;
  }

  void Write(uint64_t sequence) {
    LanePositions& positions = memory_->positions();
    absl::Span<std::byte> room = writer_.TryClaim(options_.frame_bytes);
    while (room.empty()) {
      positions.AskToBeWoken(writer_.ReleasedFor(options_.frame_bytes));
      room = writer_.TryClaim(options_.frame_bytes);
      if (room.empty()) explorer_.Await(memory_->writers_bell());
    }
    FillFrame(sequence, room);
    writer_.Commit();
    if (positions.TakeSleeping()) Ring(memory_->readers_bell());
  }

  void Read() {
    const FrameView* view = nullptr;
    uint64_t end;
    const InboundRing::Look look = reader_.Peek(0, &view, &end);
    explorer_.Check(look != InboundRing::Look::kCorrupt,
                    "the reader finds the ring corrupt");
    if (look == InboundRing::Look::kFrame) {
      ++read_;
      explorer_.Check(view->header.lane_sequence == read_ &&
                          IsFilled(*view, options_.frame_bytes),
                      "a frame is lost, torn, twice or out of order");
      reader_.Pop(true);
      if (reader_.TakeWriterWaits()) Ring(memory_->writers_bell());
      reader_.NoteTaken(1);
      return;
    }
    if (reader_.BeginSleep()) explorer_.HeavyBarrier();
    if (!reader_.HasWork(0)) explorer_.Await(memory_->readers_bell());
    reader_.EndSleep();
  }

  Explorer& explorer_;
  const Options options_;
  const std::shared_ptr<ModelMemory> memory_;
  RingWriter writer_;
  InboundRing reader_;
  uint64_t read_ = 0;
};

// Two threads of the writer's process. One has committed the first frame, and
// now looks whether the reader sleeps; meanwhile the other one commits the
// second, and looks too. The reader promises a barrier after each frame.
class TwoWritersScenario final : public Scenario {
 public:
  explicit TwoWritersScenario(Explorer& explorer)
      : explorer_(explorer),
        memory_(std::make_shared<ModelMemory>(256)),
        writer_(memory_->bytes(), memory_->positions().ring) {
    memory_->positions().takes_barriers.store(1);
    CommitFrames(writer_, /*count=*/1, kFrameBytes);
    InboundRing::Options options;
    options.frame_bytes_max = kFrameBytes;
    PromiseAfter(1, &options);
    reader_.emplace(memory_, options);
  }

  Shared shared() override { return memory_->shared(); }
  size_t thread_count() const override { return 3; }

  void Run(size_t thread) override {
    if (thread == 0) {
      RingIfAsleep();
    } else if (thread == 1) {
      for (uint64_t sequence = 2; sequence <= kFrames; ++sequence) {
        FillFrame(sequence, writer_.TryClaim(kFrameBytes));
        writer_.Commit();
        RingIfAsleep();
      }
    } else {
      while (read_ < kFrames) Read();
    }
  }

  void AtEnd() override {
    explorer_.Check(read_ == kFrames, "a frame is missing");
  }

 private:
  static constexpr size_t kFrameBytes = 48;
  static constexpr uint64_t kFrames = 2;

  void RingIfAsleep() {
    if (memory_->positions().TakeSleeping()) Ring(memory_->readers_bell());
  }

  void Read() {
    const FrameView* view = nullptr;
    uint64_t end;
    if (reader_->Peek(0, &view, &end) == InboundRing::Look::kFrame) {
      ++read_;
      reader_->Pop(true);
      reader_->NoteTaken(1);
      return;
    }
    if (reader_->BeginSleep()) explorer_.HeavyBarrier();
    if (!reader_->HasWork(0)) explorer_.Await(memory_->readers_bell());
    reader_->EndSleep();
  }

  Explorer& explorer_;
  const std::shared_ptr<ModelMemory> memory_;
  RingWriter writer_;
  std::optional<InboundRing> reader_;
  uint64_t read_ = 0;
};

// Two threads of the writer's process wait for different positions: the thread
// that comes second leaves the first one's request in `wake_at`. Both frames
// are there from the start.
class TwoWaitersScenario final : public Scenario {
 public:
  explicit TwoWaitersScenario(Explorer& explorer)
      : explorer_(explorer), memory_(std::make_shared<ModelMemory>(128)) {
    RingWriter writer(memory_->bytes(), memory_->positions().ring);
    CommitFrames(writer, /*count=*/2, kFrameBytes);
    InboundRing::Options options;
    options.frame_bytes_max = kFrameBytes;
    reader_.emplace(memory_, options);
  }

  Shared shared() override { return memory_->shared(); }
  size_t thread_count() const override { return 3; }

  void Run(size_t thread) override {
    if (thread == 0) {
      memory_->positions().AskToBeWoken(kFrameBytes);
    } else if (thread == 1) {
      Read();
      Read();
    } else {
      WaitForBoth();
    }
  }

  void AtEnd() override {}

 private:
  static constexpr size_t kFrameBytes = 48;

  void Read() {
    const FrameView* view = nullptr;
    uint64_t end;
    explorer_.Check(reader_->Peek(0, &view, &end) == InboundRing::Look::kFrame,
                    "a frame is missing");
    reader_->Pop(true);
    if (reader_->TakeWriterWaits()) Ring(memory_->writers_bell());
  }

  void WaitForBoth() {
    LanePositions& positions = memory_->positions();
    // Earlier rings of the bell were for others.
    memory_->writers_bell().exchange(0, std::memory_order_relaxed);
    while (true) {
      positions.AskToBeWoken(2 * kFrameBytes);
      if (positions.ring.released.load(std::memory_order_acquire) ==
          2 * kFrameBytes) {
        return;
      }
      explorer_.Await(memory_->writers_bell());
    }
  }

  Explorer& explorer_;
  const std::shared_ptr<ModelMemory> memory_;
  std::optional<InboundRing> reader_;
};

// The loop hands a frame to another thread, which reads it and says that it is
// handled: invariant 5.
class HandedOnScenario final : public Scenario {
 public:
  explicit HandedOnScenario(Explorer& explorer)
      : explorer_(explorer),
        memory_(std::make_shared<ModelMemory>(256)),
        writer_(memory_->bytes(), memory_->positions().ring),
        reader_(memory_, InboundOptions()) {}

  Shared shared() override { return memory_->shared(); }
  size_t thread_count() const override { return 3; }

  void Run(size_t thread) override {
    if (thread == 0) {
      Write(1, kFirstBytes);
      Ring(memory_->readers_bell());
      Write(2, kFrameBytes);
      Write(3, kFrameBytes);  // Where the first one is, once that is handled.
    } else if (thread == 1) {
      explorer_.Await(memory_->readers_bell());
      const FrameView* view = nullptr;
      explorer_.Check(
          reader_.Peek(0, &view, &end_) == InboundRing::Look::kFrame,
          "a frame is missing");
      handed_ = *view;
      reader_.Pop(/*handled=*/false);
      Ring(memory_->writers_bell());
    } else {
      explorer_.Await(memory_->writers_bell());
      explorer_.Check(IsFilled(handed_, kFirstBytes),
                      "a frame is written while it is read");
      reader_.NoteHandled(end_);
    }
  }

  void AtEnd() override {}

 private:
  static constexpr size_t kFirstBytes = 104;
  static constexpr size_t kFrameBytes = 96;

  static InboundRing::Options InboundOptions() {
    InboundRing::Options options;
    options.frame_bytes_max = kFirstBytes;
    return options;
  }

  void Write(uint64_t sequence, size_t bytes) {
    absl::Span<std::byte> room;
    for (int tries = 0; tries < 2 && room.empty(); ++tries) {
      room = writer_.TryClaim(bytes);
    }
    if (room.empty()) return;
    FillFrame(sequence, room);
    writer_.Commit();
  }

  Explorer& explorer_;
  const std::shared_ptr<ModelMemory> memory_;
  RingWriter writer_;
  InboundRing reader_;
  FrameView handed_;
  uint64_t end_ = 0;
};

// A thread has read the first frame. The loop sees that, and handles the second
// frame itself. It may say so before the thread says that the first one is
// handled: what is given back stays given back.
class HandledInTurnScenario final : public Scenario {
 public:
  explicit HandledInTurnScenario(Explorer& explorer)
      : explorer_(explorer),
        memory_(std::make_shared<ModelMemory>(128)),
        writer_(memory_->bytes(), memory_->positions().ring) {
    CommitFrames(writer_, /*count=*/2, kFrameBytes);
    InboundRing::Options options;
    options.frame_bytes_max = kFrameBytes;
    reader_.emplace(memory_, options);
  }

  Shared shared() override { return memory_->shared(); }
  size_t thread_count() const override { return 3; }

  void Run(size_t thread) override {
    if (thread == 0) {
      Write();
    } else if (thread == 1) {
      handed_ = Look();
      reader_->Pop(/*handled=*/false);
      Ring(memory_->readers_bell());
      explorer_.Await(memory_->writers_bell());
      (void)Look();
      reader_->Pop(/*handled=*/true);
      CheckReleased(2 * kFrameBytes);
    } else {
      explorer_.Await(memory_->readers_bell());
      explorer_.Check(IsFilled(handed_, kFrameBytes),
                      "a frame is written while it is read");
      Ring(memory_->writers_bell());  // This time the loop's.
      reader_->NoteHandled(kFrameBytes);
      CheckReleased(kFrameBytes);
    }
  }

  void AtEnd() override { CheckReleased(2 * kFrameBytes); }

 private:
  static constexpr size_t kFrameBytes = 48;

  // A frame that lies where the first one does.
  void Write() {
    const absl::Span<std::byte> room = writer_.TryClaim(kFrameBytes);
    if (room.empty()) return;
    FillFrame(3, room);
    writer_.Commit();
  }

  FrameView Look() {
    const FrameView* view = nullptr;
    uint64_t end;
    explorer_.Check(reader_->Peek(0, &view, &end) == InboundRing::Look::kFrame,
                    "a frame is missing");
    return *view;
  }

  void CheckReleased(uint64_t handled) {
    handled_ = std::max(handled_, handled);
    explorer_.Check(explorer_.memory().Last(&memory_->positions().ring.released,
                                            8) >= handled_,
                    "what was given back is taken back");
  }

  Explorer& explorer_;
  const std::shared_ptr<ModelMemory> memory_;
  RingWriter writer_;
  std::optional<InboundRing> reader_;
  FrameView handed_;
  uint64_t handled_ = 0;
};

// Another thread has the frame, and the writer's process waits for it, for
// example to leave. The other thread may already have handled the frame when
// the loop says that it has taken it. One of the two threads sees both, and
// tells the writer.
class HandedOnSleepingScenario final : public Scenario {
 public:
  explicit HandedOnSleepingScenario(Explorer& explorer)
      : explorer_(explorer), memory_(std::make_shared<ModelMemory>(128)) {
    RingWriter writer(memory_->bytes(), memory_->positions().ring);
    FillFrame(1, writer.TryClaim(kFrameBytes));
    writer.Commit();
    InboundRing::Options options;
    options.frame_bytes_max = kFrameBytes;
    reader_.emplace(memory_, options);
  }

  Shared shared() override {
    Shared shared = memory_->shared();
    shared.apart = {{reader_->own_words().taken, "taken_"}};
    return shared;
  }
  size_t thread_count() const override { return 3; }

  void Run(size_t thread) override {
    LanePositions& positions = memory_->positions();
    if (thread == 0) {
      while (true) {
        positions.AskToBeWoken(kFrameBytes);
        if (positions.ring.released.load(std::memory_order_acquire) ==
            kFrameBytes) {
          return;
        }
        explorer_.Await(memory_->writers_bell());
      }
    } else if (thread == 1) {
      const FrameView* view = nullptr;
      uint64_t end;
      explorer_.Check(
          reader_->Peek(0, &view, &end) == InboundRing::Look::kFrame,
          "a frame is missing");
      Ring(memory_->readers_bell());
      reader_->Pop(/*handled=*/false);
      if (reader_->TakeWriterWaits()) Ring(memory_->writers_bell());
    } else {
      explorer_.Await(memory_->readers_bell());
      reader_->NoteHandled(kFrameBytes);
      if (reader_->TakeWriterWaits()) Ring(memory_->writers_bell());
    }
  }

  void AtEnd() override {}

 private:
  static constexpr size_t kFrameBytes = 48;

  Explorer& explorer_;
  const std::shared_ptr<ModelMemory> memory_;
  std::optional<InboundRing> reader_;
};

Explorer::Make Lossless(const LosslessScenario::Options& options) {
  return [options](Explorer& explorer) {
    return std::make_unique<LosslessScenario>(explorer, options);
  };
}

Explorer::Make Sleeping(const SleepingScenario::Options& options) {
  return [options](Explorer& explorer) {
    return std::make_unique<SleepingScenario>(explorer, options);
  };
}

}  // namespace

std::vector<NamedScenario> LosslessScenarios() {
  return {
      // Two frames and a pad fill a lap.
      {"lossless_wrap", Lossless({128, {48, 48, 48, 48, 48}, 2, 5, 1})},
      // The pad is too short for a whole header.
      {"lossless_short_pad", Lossless({128, {64, 40, 64, 40}, 2, 4, 1})},
      // No pad: the frames fill the lap, and the commit word behind the last
      // frame needs the first bytes of the next lap. That frame is made in its
      // place, and then elsewhere.
      {"lossless_full", Lossless({128, {64, 64, 64, 64}, 2, 4, 1})},
      {"lossless_full_elsewhere", Lossless({256, {96, 96, 64, 96}, 2, 4, 1})},
      {"lossless_late_release", Lossless({256, {96, 88, 56, 96, 88}, 2, 4, 2})},
      // A frame comes to lie across the payload of the frame that was read
      // last.
      {"lossless_uneven", Lossless({256, {48, 112, 88, 112}, 2, 3, 1})},
      {"inbound_wrap", Lossless({128, {48, 48, 48, 48}, 2, 4, 1, true})},
      // The third frame comes to lie across the first, once that was read.
      {"inbound_uneven", Lossless({128, {64, 64, 48}, 2, 3, 1, true})},
      {"handed_on",
       [](Explorer& explorer) {
         return std::make_unique<HandedOnScenario>(explorer);
       }},
      {"handed_on_in_turn",
       [](Explorer& explorer) {
         return std::make_unique<HandledInTurnScenario>(explorer);
       }},
      {"sleeping_reader", Sleeping({256, 48, 2, 0})},
      {"sleeping_behind_barrier", Sleeping({256, 48, 2, 1})},
      {"sleeping_two_writers",
       [](Explorer& explorer) {
         return std::make_unique<TwoWritersScenario>(explorer);
       }},
      {"sleeping_waiters",
       [](Explorer& explorer) {
         return std::make_unique<TwoWaitersScenario>(explorer);
       }},
      {"sleeping_handed_on",
       [](Explorer& explorer) {
         return std::make_unique<HandedOnSleepingScenario>(explorer);
       }},
      {"sleeping_both", Sleeping({128, 48, 3, 0})},
  };
}

}  // namespace mycelium::model
