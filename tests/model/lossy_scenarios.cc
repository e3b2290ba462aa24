#include <memory>

#include "mycelium/transport/inbound_ring.h"
#include "mycelium/transport/lane/lossy_stage.h"
#include "tests/model/frames.h"
#include "tests/model/scenarios.h"

namespace mycelium::model {
namespace {

InboundRing::Options InboundOptions() {
  InboundRing::Options options;
  options.lossy = true;
  options.frame_bytes_max = 128;
  return options;
}

// The fate of each message, and the laws about it: invariants 1 and 6 to 8 of
// docs/shm_layout.md.
class Fates final : public DropSink {
 public:
  Fates(Explorer& explorer, absl::Span<std::byte> ring, size_t depth)
      : explorer_(explorer), ring_(ring), depth_(depth) {}

  // Called by the writer, before and after it commits message `sequence`.
  void Begin(absl::Span<std::byte> room) {
    const size_t offset = static_cast<size_t>(room.data() - ring_.data());
    fates_.push_back({Fate::kWaits, offset, room.size()});
    committing_ = last();
  }
  void End() {
    const Message& message = fates_.back();
    committing_ = 0;
    const size_t behind =
        (message.offset + AlignedFrameBytes(message.bytes)) % ring_.size();
    explorer_.Check(explorer_.memory().Last(&ring_[behind], 4) == 0,
                    "invariant 1: the commit word at the writer's position "
                    "is not 0");
  }
  // The new message is dropped.
  void DropNewest() { fates_.push_back({Fate::kDropped, 0, 0}); }

  void OnDrop(const FrameView& frame, DropReason reason) override {
    const uint64_t sequence = frame.header.lane_sequence;
    Message* const message = Find(sequence);
    explorer_.Check(message->fate == Fate::kWaits,
                    "invariant 6: a message is dropped that was taken, or "
                    "twice");
    explorer_.Check(sequence > last_dropped_, "dropped, but not the oldest");
    // Together with the new message they are the newest `depth`.
    explorer_.Check(
        reason != DropReason::kOverflow || sequence + depth_ <= last() + 1,
        "dropped, though fewer than the depth wait");
    message->fate = Fate::kDropped;
    last_dropped_ = sequence;
  }

  // Called by the reader, which has just been given the frame.
  void Take(const FrameView& frame, absl::Span<const std::byte> bytes) {
    const uint64_t sequence = frame.header.lane_sequence;
    Message* const message = Find(sequence);
    explorer_.Check(message->fate == Fate::kWaits,
                    "invariant 6: a message is taken that was dropped, or "
                    "twice");
    explorer_.Check(sequence > last_taken_, "messages are out of order");
    for (uint64_t i = last_taken_ + 1; i < sequence; ++i) {
      explorer_.Check(Find(i)->fate == Fate::kDropped,
                      "a message is missing that was not dropped");
    }
    explorer_.Check(frame.lost_before == sequence - last_taken_ - 1,
                    "lost_before is wrong");
    explorer_.Check(
        static_cast<size_t>(bytes.data() - ring_.data()) == message->offset &&
            IsFilled(frame, message->bytes),
        "a frame has wrong contents");
    message->fate = Fate::kTaken;
    last_taken_ = held_ = sequence;
  }
  // Called by the reader, before it lets go of its message.
  void LetGo() {
    if (held_ != 0) Find(held_)->fate = Fate::kDone;
    held_ = 0;
  }

  // Invariant 8: a message that waits or is held is not overwritten.
  void CheckWrite(size_t offset, size_t bytes) {
    for (uint64_t i = 1; i <= last(); ++i) {
      const Message& message = *Find(i);
      if (i == committing_ || message.fate == Fate::kDropped ||
          message.fate == Fate::kDone) {
        continue;
      }
      explorer_.Check(
          !Meet(offset, bytes, message.offset, message.bytes, ring_.size()),
          "invariant 8: written where a frame waits or is held");
    }
  }

  size_t waiting() {
    size_t count = 0;
    for (const Message& message : fates_) count += message.fate == Fate::kWaits;
    return count;
  }
  uint64_t last() const { return fates_.size(); }
  // Whether nobody is to get that message any more.
  bool IsOver(uint64_t sequence) {
    const Fate fate = Find(sequence)->fate;
    return fate == Fate::kDropped || fate == Fate::kDone;
  }

 private:
  enum class Fate { kWaits, kTaken, kDropped, kDone };
  struct Message {
    Fate fate;
    size_t offset;
    size_t bytes;
  };

  Message* Find(uint64_t sequence) {
    explorer_.Check(sequence >= 1 && sequence <= fates_.size(),
                    "a frame has a sequence that there is not");
    return &fates_[sequence - 1];
  }

  Explorer& explorer_;
  const absl::Span<std::byte> ring_;
  const size_t depth_;
  std::vector<Message> fates_;
  uint64_t committing_ = 0;
  uint64_t last_dropped_ = 0;
  uint64_t last_taken_ = 0;
  uint64_t held_ = 0;
};

struct LossyOptions {
  size_t capacity;
  size_t depth;
  std::vector<size_t> frames;  // Their sizes.
  int polls;                   // Of the reader.
  bool holds;                  // Until the next poll.
  bool drop_newest = false;
};

// The common part of every lossy scenario: the writing side, as Lane uses it.
class LossyScenario : public Scenario {
 public:
  LossyScenario(Explorer& explorer, const LossyOptions& options)
      : explorer_(explorer),
        options_(options),
        memory_(std::make_shared<ModelMemory>(options.capacity)),
        fates_(
            std::make_shared<Fates>(explorer, memory_->bytes(), options.depth)),
        stage_(StageOptions(options), memory_, fates_) {}

  Shared shared() override { return memory_->shared(); }

 protected:
  void Guard() {
    explorer_.memory().on_ring_write = [this](size_t offset, size_t bytes) {
      fates_->CheckWrite(offset, bytes);
    };
  }

  // Whether the message was committed.
  bool Publish(size_t bytes) {
    DropReason reason;
    const absl::Span<std::byte> room = stage_.MakeRoom(bytes, &reason);
    explorer_.Check(!stage_.corrupt(), "the writer finds `next` corrupt");
    if (room.empty()) {
      const bool must_fit =
          options_.capacity >= 4 * (AlignedFrameBytes(bytes) + kFrameAlignment);
      explorer_.Check(options_.drop_newest || !must_fit,
                      "a frame does not fit beside the one that is held");
      fates_->DropNewest();
      return false;
    }
    FillFrame(fates_->last() + 1, room);
    fates_->Begin(room);
    stage_.Commit(fates_->last());
    fates_->End();
    // One of these messages may be the reader's already.
    explorer_.Check(fates_->waiting() <= options_.depth + 1,
                    "more messages wait than the depth");
    return true;
  }

  Explorer& explorer_;
  const LossyOptions options_;
  const std::shared_ptr<ModelMemory> memory_;
  const std::shared_ptr<Fates> fates_;
  LossyStage stage_;

 private:
  static LossyStage::Options StageOptions(const LossyOptions& options) {
    return {options.depth, options.drop_newest};
  }
};

class TakeOrDropScenario final : public LossyScenario {
 public:
  TakeOrDropScenario(Explorer& explorer, const LossyOptions& options)
      : LossyScenario(explorer, options),
        reader_(memory_->bytes(), memory_->positions().lossy,
                kFrameFlagsOnWire) {}

  void Run(size_t thread) override {
    if (thread == 0) {
      Guard();
      for (const size_t bytes : options_.frames) Publish(bytes);
    } else {
      for (int i = 0; i < options_.polls; ++i) ReadOne();
    }
  }

  void AtEnd() override {
    explorer_.memory().on_ring_write = nullptr;
    bool is_first = true;
    while (ReadOne()) {
      // No drop can come between two messages that still wait.
      explorer_.Check(is_first || lost_before_ == 0 || options_.drop_newest,
                      "a gap among the newest");
      is_first = false;
    }
    reader_.Release();
    for (uint64_t i = 1; i <= fates_->last(); ++i) {
      explorer_.Check(fates_->IsOver(i),
                      "a message was neither taken nor "
                      "dropped");
    }
    explorer_.Check(stage_.IsOver(fates_->last()),
                    "the writer thinks that a message waits");
  }

 private:
  bool ReadOne() {
    fates_->LetGo();
    FrameView view;
    const RingReader::Result result = reader_.Poll(&view);
    explorer_.Check(result != RingReader::Result::kCorrupt,
                    "the reader finds the ring corrupt");
    if (result == RingReader::Result::kEmpty) return false;
    fates_->Take(view, reader_.taken());
    lost_before_ = view.lost_before;
    if (!options_.holds) {
      fates_->LetGo();
      reader_.Release();
    }
    return true;
  }

  LossyRingReader reader_;
  uint64_t lost_before_ = 0;
};

// The reader is killed at any point, and another one takes its place.
class RestartScenario final : public LossyScenario {
 public:
  RestartScenario(Explorer& explorer, const LossyOptions& options)
      : LossyScenario(explorer, options),
        reader_(memory_->bytes(), memory_->positions().lossy,
                kFrameFlagsOnWire) {}

  bool kills() const override { return true; }

  void Run(size_t thread) override {
    if (thread == 0) {
      Guard();
      for (const size_t bytes : options_.frames) Publish(bytes);
      explorer_.Kill(1);
      explorer_.memory().on_ring_write = nullptr;
      ReadAgain();
    } else {
      for (int i = 0; i < options_.polls; ++i) ReadOne();
    }
  }

  void AtEnd() override {}

 private:
  void ReadOne() {
    fates_->LetGo();
    FrameView view;
    const RingReader::Result result = reader_.Poll(&view);
    explorer_.Check(result != RingReader::Result::kCorrupt,
                    "the reader finds the ring corrupt");
    if (result == RingReader::Result::kFrame) {
      fates_->Take(view, reader_.taken());
    }
  }

  void ReadAgain() {
    const LossyRingWriter::Restarted restarted =
        stage_.Restart([this] { memory_->positions().lossy.held.store(0); },
                       [this](const FrameView&) {
                         explorer_.Check(false, "a frame is damaged");
                       });
    LossyRingReader reader(memory_->bytes(), memory_->positions().lossy,
                           kFrameFlagsOnWire);
    FrameView view;
    uint64_t last = 0;
    while (reader.Poll(&view) == RingReader::Result::kFrame) {
      const uint64_t sequence = view.header.lane_sequence;
      explorer_.Check(sequence > last, "out of order after a restart");
      explorer_.Check(last != 0 || sequence == restarted.next_sequence ||
                          fates_->IsOver(restarted.next_sequence),
                      "the next sequence is wrong after a restart");
      explorer_.Check(IsFilled(view, options_.frames[sequence - 1]),
                      "a frame has wrong contents after a restart");
      CheckOver(last + 1, sequence);
      last = sequence;
    }
    CheckOver(last + 1, fates_->last() + 1);
  }

  void CheckOver(uint64_t from, uint64_t to) {
    for (uint64_t i = from; i < to; ++i) {
      explorer_.Check(fates_->IsOver(i),
                      "a message is missing after a restart");
    }
  }

  LossyRingReader reader_;
};

// The reader sleeps: invariant 9 for a lossy lane, with the product's reading
// end. The reader goes on until it has the last message, which nothing can
// drop.
class SleepingReaderScenario final : public LossyScenario {
 public:
  SleepingReaderScenario(Explorer& explorer, const LossyOptions& options)
      : LossyScenario(explorer, options), reader_(memory_, InboundOptions()) {}

  void Run(size_t thread) override {
    if (thread == 0) {
      for (const size_t bytes : options_.frames) {
        Publish(bytes);
        if (memory_->positions().TakeSleeping()) Ring(memory_->readers_bell());
      }
    } else {
      while (read_ < options_.frames.size()) Read();
    }
  }

  void AtEnd() override {}

 private:
  void Read() {
    const FrameView* view = nullptr;
    uint64_t end;
    const InboundRing::Look look = reader_.Peek(0, &view, &end);
    explorer_.Check(look != InboundRing::Look::kCorrupt,
                    "the reader finds the ring corrupt");
    if (look == InboundRing::Look::kFrame) {
      read_ = view->header.lane_sequence;
      reader_.Pop(true);
      if (reader_.TakeWriterWaits()) Ring(memory_->writers_bell());
      return;
    }
    if (reader_.BeginSleep()) explorer_.HeavyBarrier();
    if (!reader_.HasWork(0)) explorer_.Await(memory_->readers_bell());
    reader_.EndSleep();
  }

  InboundRing reader_;
  uint64_t read_ = 0;
};

// After the first messages are there, a message waits at each moment, and
// HasFrame() says so, whatever is written where it looks.
class HasFrameScenario final : public LossyScenario {
 public:
  HasFrameScenario(Explorer& explorer, const LossyOptions& options)
      : LossyScenario(explorer, options),
        reader_(memory_->bytes(), memory_->positions().lossy,
                kFrameFlagsOnWire) {}

  void Run(size_t thread) override {
    if (thread == 0) {
      for (const size_t bytes : options_.frames) {
        Publish(bytes);
        // A message is dropped only if another one waits behind it.
        if (fates_->last() == options_.depth) Ring(memory_->readers_bell());
      }
    } else {
      explorer_.Await(memory_->readers_bell());
      explorer_.Check(reader_.HasFrame(),
                      "the reader is told of no frame while one waits");
    }
  }

  void AtEnd() override {}

 private:
  LossyRingReader reader_;
};

// The peer is gone while a thread has a frame: the reading end takes the next
// frame, and the thread that finishes the first frame lets go of that frame
// only.
class DrainingScenario final : public Scenario, public DropSink {
 public:
  DrainingScenario(Explorer& explorer, const LossyOptions& options)
      : explorer_(explorer),
        options_(options),
        memory_(std::make_shared<ModelMemory>(options.capacity)),
        stage_({options.depth, options.drop_newest}, memory_,
               // This object lives as long as the stage.
               std::shared_ptr<DropSink>(std::shared_ptr<void>(), this)),
        reader_(memory_, InboundOptions()) {}

  Shared shared() override {
    Shared shared = memory_->shared();
    // Only the loop uses `taken_` here.
    const InboundRing::OwnWords own = reader_.own_words();
    shared.apart = {{own.handled, "handled_"},
                    {own.held_sequence, "held_sequence_"},
                    {own.held_at, "held_at_"}};
    return shared;
  }
  size_t thread_count() const override { return 3; }

  void Run(size_t thread) override {
    if (thread == 0) {
      for (size_t i = 0; i < options_.frames.size(); ++i) {
        Publish(i + 1, options_.frames[i]);
        if (i == 0) Ring(memory_->readers_bell());
      }
    } else if (thread == 1) {
      explorer_.Await(memory_->readers_bell());
      const uint64_t taken = Look();
      if (taken == 0) return;
      reader_.Pop(/*handled=*/false);
      has_ = taken;
      Ring(memory_->writers_bell());
      reader_.BeginTakingOver();
      (void)Look();
    } else {
      explorer_.Await(memory_->writers_bell());
      reader_.NoteHandled(has_);
    }
  }

  void AtEnd() override {}
  void OnDrop(const FrameView&, DropReason) override {}

 private:
  void Publish(uint64_t sequence, size_t bytes) {
    DropReason reason;
    const absl::Span<std::byte> room = stage_.MakeRoom(bytes, &reason);
    if (room.empty()) return;
    FillFrame(sequence, room);
    stage_.Commit(sequence);
  }

  // Returns the sequence of the frame that it finds.
  uint64_t Look() {
    const FrameView* view = nullptr;
    uint64_t end;
    const InboundRing::Look look = reader_.Peek(0, &view, &end);
    explorer_.Check(look != InboundRing::Look::kCorrupt,
                    "the reader finds the ring corrupt");
    if (look != InboundRing::Look::kFrame) return 0;
    explorer_.Check(IsFilled(*view, options_.frames[end - 1]),
                    "invariant 8: a frame is written while it is read");
    return end;
  }

  Explorer& explorer_;
  const LossyOptions options_;
  const std::shared_ptr<ModelMemory> memory_;
  LossyStage stage_;
  InboundRing reader_;
  uint64_t has_ = 0;  // The frame that the third thread finishes.
};

template <typename T>
Explorer::Make Make(const LossyOptions& options) {
  return [options](Explorer& explorer) {
    return std::make_unique<T>(explorer, options);
  };
}

}  // namespace

std::vector<NamedScenario> LossyScenarios() {
  return {
      {"lossy_latest",
       Make<TakeOrDropScenario>({256, 1, {48, 48, 48}, 2, false})},
      {"lossy_held", Make<TakeOrDropScenario>({256, 1, {48, 48, 48}, 2, true})},
      {"lossy_depth",
       Make<TakeOrDropScenario>({256, 2, {48, 48, 48, 48}, 2, true})},
      // The held frame's room alone is enough for the next frame.
      {"lossy_refill",
       Make<TakeOrDropScenario>({256, 8, {56, 56, 56, 56, 48}, 2, true})},
      {"lossy_drop_newest",
       Make<TakeOrDropScenario>({256, 2, {48, 48, 48, 48}, 3, true, true})},
      // The last frame ends, with a cleared word, where the second one started.
      {"lossy_has_frame",
       Make<HasFrameScenario>({256, 2, {48, 48, 104, 48, 48}, 0, false})},
      {"lossy_restart", Make<RestartScenario>({256, 2, {48, 48, 48}, 2, true})},
      // The last frame lies where the second one does, if nobody holds that.
      {"lossy_draining",
       Make<DrainingScenario>({256, 1, {48, 104, 112}, 0, false})},
      {"lossy_sleeping",
       Make<SleepingReaderScenario>({256, 1, {48, 48}, 0, false})},
      // These take longest.
      {"lossy_narrow",
       Make<TakeOrDropScenario>({128, 8, {48, 48, 48, 48}, 2, true})},
      // The last frame's payload comes to lie where the second one started.
      {"lossy_overwritten",
       Make<TakeOrDropScenario>({256, 8, {48, 48, 88, 72, 104}, 2, false})},
      {"lossy_bytes",
       Make<TakeOrDropScenario>({256, 8, {56, 56, 56, 56, 56, 56}, 2, true})},
  };
}

}  // namespace mycelium::model
