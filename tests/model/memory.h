#ifndef MYCELIUM_TESTS_MODEL_MEMORY_H_
#define MYCELIUM_TESTS_MODEL_MEMORY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace mycelium::model {

// A place is the unit of counting: a cell of four bytes of a ring, or a word.
inline constexpr size_t kPlacesMax = 96;
inline constexpr size_t kThreadsMax = 3;

// One more word, of eight bytes.
struct WordApart {
  const void* at;
  const char* name;
};

// What a thread has seen: for each place the oldest store that it may still
// read, and for each thread how far that thread has come for it
// (happens-before).
struct View {
  uint8_t oldest[kPlacesMax] = {};
  uint8_t clock[kThreadsMax] = {};

  void Join(const View& other);
  // Joins only the first half, `oldest`.
  void JoinOldest(const View& other);
};

// Shared memory as C++ promises it, and no better. Each place keeps all that
// was ever stored there, in one order. A load may take any store that its
// thread has not seen to be overwritten. A release store carries what its
// thread has seen, and an acquire load of that store gets it. A
// read-modify-write takes the last store.
//
// Copied bytes are no atomics: a thread that reads them must have seen the last
// store, and no store may be concurrent; otherwise Fail() is called.
//
// Simplifications, each of which only leaves out executions: stores to one
// place are ordered as they are executed, and no load sees a store that is
// executed later. seq_cst is acq_rel.
//
// Thread safety: none; one thread runs at a time, which is the current one.
class Memory final {
 public:
  // Chooses one of `count`; 0 is the newest store.
  using Choose = std::function<size_t(size_t count)>;
  using Fail = std::function<void(const std::string& what)>;
  using Note = std::function<void(const std::string& event)>;

  Memory(Choose choose, Fail fail, Note note)
      : choose_(std::move(choose)),
        fail_(std::move(fail)),
        note_(std::move(note)) {}

  // Makes the memory there shared, and ends the sharing of what was shared
  // before. Its contents are the first store of each place.
  void Reset(std::byte* ring, size_t ring_bytes, std::byte* words,
             size_t words_bytes, size_t word_bytes, const char* const* names,
             std::vector<WordApart> apart);

  bool Has(const void* at) const;
  bool IsInRing(const void* at) const;

  void SetThread(size_t thread) { thread_ = thread; }
  // Everything that all threads did happens before what the thread does from
  // now on.
  void JoinAll();

  uint64_t Load(const void* at, size_t bytes, std::memory_order order);
  void Store(void* at, size_t bytes, uint64_t value, std::memory_order order);
  // Returns the old value; stores what `change` makes of it.
  uint64_t Modify(
      void* at, size_t bytes, std::memory_order order,
      const std::function<bool(uint64_t found, uint64_t* value)>& change,
      const char* name);
  uint64_t LoadRacing(const std::byte* at);
  // Each later store carries what the thread has seen by now.
  void ReleaseFence();
  // The part of HeavyBarrier() that another thread runs. That thread has seen
  // what this one had seen `before`. This thread sees what that one has done:
  // it loads nothing older from here on. This is no happens-before, for which a
  // thread has to load what another one stored.
  void BarrierIn(size_t other, const View& before);
  const View& view_now() const { return views_[thread_]; }
  void CopyIn(std::byte* to, const void* from, size_t bytes);
  void CopyOut(void* to, const std::byte* from, size_t bytes);

  // The last store, whoever has seen it. This is for laws, not for the checked
  // code.
  uint64_t Last(const void* at, size_t bytes) const;

  // Called before bytes of the ring change, with their place counted from its
  // start.
  std::function<void(size_t offset, size_t bytes)> on_ring_write;

  // Names all stores and the threads that made them, and what each thread has
  // read.
  uint64_t Fingerprint() const;
  // What a thread has read so far, which is all that it can act upon.
  void Observe(uint64_t what);

  // Whether Note() is worth calling.
  bool is_noting = false;

 private:
  struct Stored {
    uint64_t value;
    View view;  // Of a release store; else of the last release fence.
    uint8_t thread;
    uint8_t clock;
  };
  struct Place {
    std::vector<Stored> stores;
    size_t last_plain = 0;  // The last store that CopyIn() made.
    uint64_t hash = 0;
    // When each thread last read it, by CopyOut() and by Load().
    uint8_t read_at[kThreadsMax] = {};
    uint8_t loaded_at[kThreadsMax] = {};
  };

  size_t PlaceOf(const void* at) const;
  // Which of the words apart that is, or how many there are.
  size_t ApartAt(const void* at) const;
  std::string NameOf(size_t place) const;
  View& view() { return views_[thread_]; }
  void Tick();
  void Append(size_t place, uint64_t value, const View& view, bool is_plain);
  // Whether the thread has seen what made that store.
  bool HasSeen(const Stored& stored) const {
    return stored.clock <= views_[thread_].clock[stored.thread];
  }
  uint64_t LoadPlace(size_t place, size_t bytes, bool acquire, bool racing);
  void CheckReaders(const uint8_t* read_at, size_t place, const char* what);
  uint64_t ReadPlain(size_t place);
  void NoteAccess(const char* what, size_t place, uint64_t value,
                  std::memory_order order);

  const Choose choose_;
  const Fail fail_;
  const Note note_;
  size_t thread_ = 0;
  std::byte* ring_ = nullptr;
  size_t ring_bytes_ = 0;
  std::byte* words_ = nullptr;
  size_t words_bytes_ = 0;
  size_t word_bytes_ = 1;
  std::vector<WordApart> apart_;
  const char* const* names_ = nullptr;
  Place places_[kPlacesMax];
  size_t place_count_ = 0;
  View views_[kThreadsMax];
  View fences_[kThreadsMax];  // What each had seen at its last release fence.
  uint64_t observed_[kThreadsMax] = {};
  uint64_t places_hash_ = 0;
};

}  // namespace mycelium::model

#endif  // MYCELIUM_TESTS_MODEL_MEMORY_H_
