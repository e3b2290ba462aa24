#ifndef MYCELIUM_TRANSPORT_LANE_FAKE_SHARED_MEMORY_H_
#define MYCELIUM_TRANSPORT_LANE_FAKE_SHARED_MEMORY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "mycelium/transport/lane/loan_memory.h"

namespace mycelium::test {

// Memory that says that it is shared, and has no descriptors.
class FakeSharedMemory final : public SharedLaneMemory {
 public:
  explicit FakeSharedMemory(size_t bytes)
      : mapping_(*Mapping::Private(Environment::Real().sys, bytes)) {}

  absl::Span<std::byte> bytes() override { return mapping_.bytes(); }
  LanePositions& positions() override { return positions_; }
  std::array<int, 2> descriptors() const override { return {-1, -1}; }
  std::shared_ptr<const void> positions_keeper() const override {
    return nullptr;
  }
  absl::Status RenewPositions(
      absl::FunctionRef<void(LanePositions&)> fill) override {
    fill(positions_);
    return absl::OkStatus();
  }

 private:
  const Mapping mapping_;
  LanePositions positions_;
};

inline std::shared_ptr<LoanMemory> MakeLoanMemory(uint32_t id, size_t bytes) {
  return std::make_shared<LoanMemory>(
      id, std::make_shared<FakeSharedMemory>(bytes));
}

}  // namespace mycelium::test

#endif  // MYCELIUM_TRANSPORT_LANE_FAKE_SHARED_MEMORY_H_
