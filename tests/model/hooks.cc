// Every access of the code under test to shared memory goes to the explorer.
#include <cstring>
#include <vector>

#include "mycelium/base/release_fence.h"
#include "mycelium/base/shared_word.h"
#include "tests/model/explorer.h"

namespace mycelium::shared_word_hooks {
namespace {

using model::Explorer;

// Null for memory that is shared with nobody.
Explorer* ExplorerOf(const void* at) {
  Explorer* const explorer = Explorer::current();
  return explorer != nullptr && explorer->memory().Has(at) ? explorer : nullptr;
}

uint64_t LoadPrivate(const void* at, size_t bytes) {
  uint64_t value = 0;
  std::memcpy(&value, at, bytes);
  return value;
}

}  // namespace

uint64_t Load(const void* at, size_t bytes, std::memory_order order) {
  Explorer* const explorer = ExplorerOf(at);
  if (explorer == nullptr) return LoadPrivate(at, bytes);
  explorer->BeforeAccess();
  return explorer->memory().Load(at, bytes, order);
}

void Store(void* at, size_t bytes, uint64_t value, std::memory_order order) {
  Explorer* const explorer = ExplorerOf(at);
  if (explorer == nullptr) {
    std::memcpy(at, &value, bytes);
    return;
  }
  explorer->BeforeStore(at);
  explorer->memory().Store(at, bytes, value, order);
}

namespace {

template <typename Change>
uint64_t Modify(void* at, size_t bytes, std::memory_order order,
                const char* name, const Change& change) {
  Explorer* const explorer = ExplorerOf(at);
  if (explorer == nullptr) {
    const uint64_t found = LoadPrivate(at, bytes);
    uint64_t value = found;
    if (change(found, &value)) std::memcpy(at, &value, bytes);
    return found;
  }
  explorer->BeforeAccess();
  return explorer->memory().Modify(at, bytes, order, change, name);
}

}  // namespace

uint64_t Exchange(void* at, size_t bytes, uint64_t value,
                  std::memory_order order) {
  return Modify(at, bytes, order, "exchange", [&](uint64_t, uint64_t* next) {
    *next = value;
    return true;
  });
}

uint64_t FetchAdd(void* at, size_t bytes, uint64_t value,
                  std::memory_order order) {
  return Modify(at, bytes, order, "fetch_add",
                [&](uint64_t found, uint64_t* next) {
                  *next = found + value;
                  return true;
                });
}

bool CompareExchange(void* at, size_t bytes, uint64_t* expected,
                     uint64_t desired, std::memory_order order) {
  const uint64_t wanted = *expected;
  *expected = Modify(at, bytes, order, "compare_exchange",
                     [&](uint64_t found, uint64_t* next) {
                       *next = desired;
                       return found == wanted;
                     });
  return *expected == wanted;
}

uint64_t LoadRacing(const std::byte* at) {
  Explorer* const explorer = ExplorerOf(at);
  if (explorer == nullptr) return LoadPrivate(at, sizeof(uint64_t));
  explorer->BeforeAccess();
  return explorer->memory().LoadRacing(at);
}

void ReleaseFence() {
  Explorer* const explorer = Explorer::current();
  if (explorer != nullptr) explorer->memory().ReleaseFence();
}

void CopyToShared(std::byte* to, const void* from, size_t bytes) {
  Explorer* const explorer = ExplorerOf(to);
  if (explorer == nullptr) {
    std::memcpy(to, from, bytes);
  } else {
    explorer->memory().CopyIn(to, from, bytes);
  }
}

void CopyFromShared(void* to, const std::byte* from, size_t bytes) {
  Explorer* const explorer = ExplorerOf(from);
  if (explorer == nullptr) {
    std::memcpy(to, from, bytes);
  } else {
    explorer->memory().CopyOut(to, from, bytes);
  }
}

void ClearShared(std::byte* to, size_t bytes) {
  const std::vector<std::byte> zeros(bytes);
  CopyToShared(to, zeros.data(), bytes);
}

}  // namespace mycelium::shared_word_hooks
