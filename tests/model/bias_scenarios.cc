#include <cstddef>
#include <memory>

#include "mycelium/base/bias.h"
#include "mycelium/base/shared_word.h"
#include "tests/model/scenarios.h"

namespace mycelium::model {
namespace {

struct BiasOptions {
  size_t threads;
  int rounds;        // Of each thread but the first, ...
  int first_rounds;  // ... which owns the bias at first.
  bool gives;        // Whoever has the mutex gets the bias.
};

// Threads that count under a lock with a bias, for the invariants of
// base/bias.h. The bias is the product's. Around it the threads do what
// BiasedMutex does, with a mutex and a bell of the model's.
template <size_t kSlots>
class BiasScenario final : public Scenario {
 public:
  BiasScenario(Explorer& explorer, const BiasOptions& options)
      : explorer_(explorer), options_(options) {
    words_.bias.Give(0);
  }

  Shared shared() override {
    static constexpr const char* kNames[] = {"mutex", "left", "owner",
                                             "inside[0]", "inside[1]"};
    return {reinterpret_cast<std::byte*>(&count_),
            sizeof count_,
            reinterpret_cast<std::byte*>(&words_),
            sizeof words_ - kSlots * sizeof(uint64_t),
            sizeof(uint64_t),
            kNames};
  }
  size_t thread_count() const override { return options_.threads; }

  void Run(size_t thread) override {
    const int rounds = thread == 0 ? options_.first_rounds : options_.rounds;
    for (int i = 0; i < rounds; ++i) {
      const uint64_t key = Lock(thread);
      explorer_.Check(++inside_ == 1, "two are inside");
      Count();
      --inside_;
      Unlock(key);
    }
  }

  void AtEnd() override {
    const auto wanted = static_cast<uint32_t>(
        options_.first_rounds +
        options_.rounds * static_cast<int>(options_.threads - 1));
    explorer_.Check(explorer_.memory().Last(&count_, sizeof count_) == wanted,
                    "what somebody did inside is lost");
  }

 private:
  static constexpr uint64_t kByMutex = BasicBias<kSlots>::kNobody;

  // All words but the last `kSlots` are shared; only the thread that has the
  // mutex uses those.
  struct Words {
    alignas(8) SharedWord<uint32_t> mutex{1};  // 1 while it is free.
    alignas(8) SharedWord<uint32_t> left{0};
    BasicBias<kSlots> bias;
  };
  static_assert(sizeof(Words) == (3 + 2 * kSlots) * sizeof(uint64_t));

  uint64_t Lock(size_t thread) {
    BasicBias<kSlots>& bias = words_.bias;
    const uint64_t key = bias.owner();
    if (BasicBias<kSlots>::IsKeyOf(key, thread)) {
      if (bias.TryEnter(key)) return key;
      Leave(key);
    }
    explorer_.Await(words_.mutex);
    if (bias.owner() != kByMutex) {
      bias.Take([this] { explorer_.HeavyBarrier(); },
                [this](uint64_t) { explorer_.Await(words_.left); });
    }
    bias.NoteReturned(thread);
    if (options_.gives) (void)bias.Give(thread);
    return kByMutex;
  }
  void Unlock(uint64_t key) {
    if (key != kByMutex) {
      Leave(key);
    } else {
      words_.mutex.store(1, std::memory_order_release);
    }
  }
  void Leave(uint64_t key) {
    if (words_.bias.Leave(key)) {
      words_.left.exchange(1, std::memory_order_acq_rel);
    }
  }
  void Count() {
    std::byte* const at = reinterpret_cast<std::byte*>(&count_);
    uint32_t count;
    CopyFromShared(&count, at, sizeof count);
    ++count;
    CopyToShared(at, &count, sizeof count);
  }

  Explorer& explorer_;
  const BiasOptions options_;
  Words words_;
  alignas(8) uint32_t count_ = 0;
  int inside_ = 0;
};

template <size_t kSlots>
Explorer::Make WithBias(const BiasOptions& options) {
  return [options](Explorer& explorer) {
    return std::make_unique<BiasScenario<kSlots>>(explorer, options);
  };
}

}  // namespace

std::vector<NamedScenario> BiasScenarios() {
  return {
      {"bias_taken", WithBias<1>({2, 2, 3, false})},
      {"bias_back_and_forth", WithBias<1>({2, 2, 3, true})},
      {"bias_of_three", WithBias<1>({3, 1, 2, true})},
      {"bias_of_three_slots", WithBias<2>({3, 1, 2, true})},
  };
}

}  // namespace mycelium::model
