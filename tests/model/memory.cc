#include "tests/model/memory.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace mycelium::model {
namespace {

constexpr size_t kCellBytes = 4;

uint64_t Mix(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9E3779B97F4A7C15u + (hash << 6) + (hash >> 2);
  hash ^= hash >> 32;
  hash *= 0xD6E8FEB86659FD93u;
  return hash ^ (hash >> 32);
}

uint64_t Trim(uint64_t value, size_t bytes) {
  return bytes == 4 ? value & 0xFFFFFFFFu : value;
}

bool Acquires(std::memory_order order) {
  return order != std::memory_order_relaxed &&
         order != std::memory_order_release;
}

bool Releases(std::memory_order order) {
  return order != std::memory_order_relaxed &&
         order != std::memory_order_acquire;
}

const char* NameOf(std::memory_order order) {
  switch (order) {
    case std::memory_order_relaxed:
      return "relaxed";
    case std::memory_order_acquire:
      return "acquire";
    case std::memory_order_release:
      return "release";
    case std::memory_order_acq_rel:
      return "acq_rel";
    default:
      return "seq_cst";
  }
}

}  // namespace

void View::JoinOldest(const View& other) {
  for (size_t i = 0; i < kPlacesMax; ++i) {
    oldest[i] = std::max(oldest[i], other.oldest[i]);
  }
}

void View::Join(const View& other) {
  JoinOldest(other);
  for (size_t i = 0; i < kThreadsMax; ++i) {
    clock[i] = std::max(clock[i], other.clock[i]);
  }
}

void Memory::Reset(std::byte* ring, size_t ring_bytes, std::byte* words,
                   size_t words_bytes, size_t word_bytes,
                   const char* const* names, std::vector<WordApart> apart) {
  ring_ = ring;
  ring_bytes_ = ring_bytes;
  words_ = words;
  words_bytes_ = words_bytes;
  word_bytes_ = word_bytes;
  names_ = names;
  apart_ = std::move(apart);
  const size_t words_end = ring_bytes / kCellBytes + words_bytes / word_bytes;
  place_count_ = words_end + apart_.size();
  if (place_count_ > kPlacesMax) std::abort();
  places_hash_ = 0;
  thread_ = 0;
  for (size_t i = 0; i < kThreadsMax; ++i) {
    views_[i] = View();
    fences_[i] = View();
    observed_[i] = 0;
  }
  for (size_t i = 0; i < place_count_; ++i) {
    const bool is_cell = i < ring_bytes / kCellBytes;
    uint64_t value = 0;
    if (is_cell) {
      std::memcpy(&value, ring + i * kCellBytes, kCellBytes);
    } else if (i >= words_end) {
      std::memcpy(&value, apart_[i - words_end].at, sizeof value);
    } else {
      std::memcpy(&value, words + (i - ring_bytes / kCellBytes) * word_bytes,
                  sizeof value);
    }
    Place& place = places_[i];
    place.stores.clear();
    place.hash = Mix(i, 0);  // The first store is the same each time.
    places_hash_ += place.hash;
    std::memset(place.read_at, 0, sizeof place.read_at);
    std::memset(place.loaded_at, 0, sizeof place.loaded_at);
    place.last_plain = 0;
    place.stores.push_back({value, View(), 0, 0});
  }
  on_ring_write = nullptr;
}

bool Memory::IsInRing(const void* at) const {
  const std::byte* const byte = static_cast<const std::byte*>(at);
  return byte >= ring_ && byte < ring_ + ring_bytes_;
}

bool Memory::Has(const void* at) const {
  const std::byte* const byte = static_cast<const std::byte*>(at);
  return IsInRing(at) || (byte >= words_ && byte < words_ + words_bytes_) ||
         ApartAt(at) < apart_.size();
}

size_t Memory::ApartAt(const void* at) const {
  const auto is_there = [at](const WordApart& word) { return word.at == at; };
  return static_cast<size_t>(
      std::find_if(apart_.begin(), apart_.end(), is_there) - apart_.begin());
}

size_t Memory::PlaceOf(const void* at) const {
  const std::byte* const byte = static_cast<const std::byte*>(at);
  if (IsInRing(at)) return static_cast<size_t>(byte - ring_) / kCellBytes;
  const size_t apart = ApartAt(at);
  if (apart < apart_.size()) return place_count_ - apart_.size() + apart;
  return (ring_bytes_ / kCellBytes) +
         static_cast<size_t>(byte - words_) / word_bytes_;
}

std::string Memory::NameOf(size_t place) const {
  const size_t cells = ring_bytes_ / kCellBytes;
  const size_t apart = place_count_ - apart_.size();
  if (place >= apart) return apart_[place - apart].name;
  if (place >= cells) return names_[place - cells];
  return "ring[" + std::to_string(place * kCellBytes) + "]";
}

void Memory::JoinAll() {
  for (const View& other : views_) view().Join(other);
}

void Memory::Observe(uint64_t what) {
  observed_[thread_] = Mix(observed_[thread_], what);
}

uint64_t Memory::Fingerprint() const {
  uint64_t hash = places_hash_;
  for (const uint64_t observed : observed_) hash = Mix(hash, observed);
  return hash;
}

void Memory::Tick() {
  if (++view().clock[thread_] == 0) std::abort();  // Smaller bounds, please.
}

void Memory::NoteAccess(const char* what, size_t place, uint64_t value,
                        std::memory_order order) {
  if (!is_noting) return;
  char line[160];
  std::snprintf(line, sizeof line, "%s %s, %s: %lld", what,
                NameOf(place).c_str(), model::NameOf(order),
                static_cast<long long>(value));
  note_(line);
}

void Memory::Append(size_t place, uint64_t value, const View& view,
                    bool is_plain) {
  Place& at = places_[place];
  if (at.stores.size() == 255) std::abort();  // Smaller bounds, please.
  at.stores.push_back({value, view, static_cast<uint8_t>(thread_),
                       this->view().clock[thread_]});
  if (is_plain) at.last_plain = at.stores.size() - 1;
  this->view().oldest[place] = static_cast<uint8_t>(at.stores.size() - 1);
  places_hash_ -= at.hash;
  // The hash covers the storing thread and what it knew.
  at.hash = Mix(Mix(Mix(at.hash, value), thread_), observed_[thread_]);
  places_hash_ += at.hash;
}

// Fails if another thread could still be reading when this store comes.
void Memory::CheckReaders(const uint8_t* read_at, size_t place,
                          const char* what) {
  for (size_t i = 0; i < kThreadsMax; ++i) {
    if (i == thread_ || read_at[i] <= view().clock[i]) continue;
    fail_("race: " + std::string(what) + " " + NameOf(place) +
          " while thread " + std::to_string(i) + " reads it");
  }
}

uint64_t Memory::LoadPlace(size_t place, size_t bytes, bool acquire,
                           bool racing) {
  Place& at = places_[place];
  const size_t newest = at.stores.size() - 1;
  const size_t oldest = view().oldest[place];
  const size_t chosen = newest - choose_(newest - oldest + 1);
  const Stored& stored = at.stores[chosen];
  if (!racing && !HasSeen(at.stores[at.last_plain])) {
    fail_("race: " + NameOf(place) + " is loaded while bytes are copied there");
  }
  view().oldest[place] = static_cast<uint8_t>(chosen);
  if (acquire) view().Join(stored.view);
  if (!racing) at.loaded_at[thread_] = view().clock[thread_];
  // In the memory's first contents, the bytes behind a word may be anything.
  const uint64_t value = Trim(stored.value, bytes);
  Observe(Mix(chosen, value));
  return value;
}

uint64_t Memory::Load(const void* at, size_t bytes, std::memory_order order) {
  Tick();
  const size_t place = PlaceOf(at);
  const uint64_t value = LoadPlace(place, bytes, Acquires(order), false);
  NoteAccess("load", place, value, order);
  return value;
}

uint64_t Memory::LoadRacing(const std::byte* at) {
  Tick();
  const size_t place = PlaceOf(at);
  // The two halves may come from two stores, which are both acquired: it is one
  // load.
  const uint64_t low = LoadPlace(place, kCellBytes, true, true);
  const uint64_t high = LoadPlace(place + 1, kCellBytes, true, true);
  const uint64_t value = low | (high << 32);
  NoteAccess("racing load", place, low, std::memory_order_acquire);
  return value;
}

void Memory::Store(void* at, size_t bytes, uint64_t value,
                   std::memory_order order) {
  Tick();
  const size_t place = PlaceOf(at);
  if (IsInRing(at)) {
    if (on_ring_write) {
      on_ring_write(static_cast<size_t>(static_cast<std::byte*>(at) - ring_),
                    bytes);
    }
    CheckReaders(places_[place].read_at, place, "store to");
    if (!HasSeen(places_[place].stores[places_[place].last_plain])) {
      fail_("race: two stores to " + NameOf(place));
    }
  }
  Append(place, value, Releases(order) ? view() : fences_[thread_], false);
  if (Releases(order)) {
    // The view includes the store itself, although the view was taken before
    // the store.
    places_[place].stores.back().view.oldest[place] = view().oldest[place];
  }
  NoteAccess("store", place, value, order);
}

uint64_t Memory::Modify(
    void* at, size_t bytes, std::memory_order order,
    const std::function<bool(uint64_t found, uint64_t* value)>& change,
    const char* name) {
  Tick();
  const size_t place = PlaceOf(at);
  Place& target = places_[place];
  const size_t newest = target.stores.size() - 1;
  // A copy: Append() may move it.
  const Stored last = target.stores[newest];
  const uint64_t found = Trim(last.value, bytes);
  view().oldest[place] = static_cast<uint8_t>(newest);
  if (Acquires(order)) view().Join(last.view);
  Observe(Mix(newest, found));
  uint64_t value = found;
  if (!change(found, &value)) {
    NoteAccess(name, place, found, order);
    return found;
  }
  // The store goes on with the release sequence of the store that it found.
  View released = last.view;
  released.Join(Releases(order) ? view() : fences_[thread_]);
  Append(place, value, released, false);
  if (Releases(order)) {
    target.stores.back().view.oldest[place] = view().oldest[place];
  }
  NoteAccess(name, place, value, order);
  return found;
}

void Memory::ReleaseFence() {
  fences_[thread_] = view();
  if (is_noting) note_("release fence");
}

void Memory::BarrierIn(size_t other, const View& before) {
  Tick();
  view().JoinOldest(views_[other]);
  views_[other].JoinOldest(before);
  // What either thread can see from here on depends on the stores so far.
  observed_[other] = Mix(observed_[other], places_hash_);
  Observe(places_hash_);
  if (is_noting) note_("barrier in thread " + std::to_string(other));
}

uint64_t Memory::ReadPlain(size_t place) {
  Place& at = places_[place];
  if (!HasSeen(at.stores.back())) {
    fail_("race: " + NameOf(place) + " is read and may have two values");
  }
  at.read_at[thread_] = view().clock[thread_];
  return at.stores.back().value;
}

void Memory::CopyOut(void* to, const std::byte* from, size_t bytes) {
  Tick();
  std::byte* out = static_cast<std::byte*>(to);
  const std::byte* const end = from + bytes;
  while (from < end) {
    const size_t place = PlaceOf(from);
    const uint64_t value = ReadPlain(place);
    const size_t skip = static_cast<size_t>(from - ring_) % kCellBytes;
    const size_t take =
        std::min(kCellBytes - skip, static_cast<size_t>(end - from));
    std::memcpy(out, reinterpret_cast<const std::byte*>(&value) + skip, take);
    Observe(value);
    out += take;
    from += take;
  }
}

void Memory::CopyIn(std::byte* to, const void* from, size_t bytes) {
  Tick();
  if (on_ring_write) on_ring_write(static_cast<size_t>(to - ring_), bytes);
  const std::byte* in = static_cast<const std::byte*>(from);
  std::byte* const end = to + bytes;
  while (to < end) {
    const size_t place = PlaceOf(to);
    CheckReaders(places_[place].read_at, place, "write to");
    CheckReaders(places_[place].loaded_at, place, "write to");
    if (!HasSeen(places_[place].stores.back())) {
      fail_("race: two writes to " + NameOf(place));
    }
    uint64_t value = places_[place].stores.back().value;
    const size_t skip = static_cast<size_t>(to - ring_) % kCellBytes;
    const size_t take =
        std::min(kCellBytes - skip, static_cast<size_t>(end - to));
    std::memcpy(reinterpret_cast<std::byte*>(&value) + skip, in, take);
    Append(place, value, fences_[thread_], true);
    in += take;
    to += take;
  }
}

uint64_t Memory::Last(const void* at, size_t bytes) const {
  const size_t place = PlaceOf(at);
  return Trim(places_[place].stores.back().value, bytes);
}

}  // namespace mycelium::model
