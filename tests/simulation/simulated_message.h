#ifndef TESTS_SIMULATION_SIMULATED_MESSAGE_H_
#define TESTS_SIMULATION_SIMULATED_MESSAGE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/types/span.h"

namespace mycelium::test {

// The content of a message: its sender, its number, and bytes that follow from
// these, so that a receiver sees when a message is not the one that was sent.
struct SimulatedMessage {
  uint32_t publisher = 0;  // Its life in the LedgerBook.
  uint32_t hops = 0;
  uint64_t id = 0;
};

inline std::byte FillerOf(const SimulatedMessage& message, size_t at) {
  return static_cast<std::byte>(message.id * 31 + message.publisher + at);
}

// `filler_bytes` more than the header.
inline std::vector<std::byte> EncodeMessage(const SimulatedMessage& message,
                                            size_t filler_bytes) {
  std::vector<std::byte> bytes(sizeof message + filler_bytes);
  std::memcpy(bytes.data(), &message, sizeof message);
  // Sparse: filling every byte would cost more than the message's journey.
  for (size_t at = 0; at < filler_bytes; at += 61) {
    bytes[sizeof message + at] = FillerOf(message, at);
  }
  return bytes;
}

// False if the bytes are not what EncodeMessage() made.
inline bool DecodeMessage(absl::Span<const std::byte> bytes,
                          SimulatedMessage* message) {
  if (bytes.size() < sizeof *message) return false;
  std::memcpy(message, bytes.data(), sizeof *message);
  bytes.remove_prefix(sizeof *message);
  for (size_t at = 0; at < bytes.size(); at += 61) {
    if (bytes[at] != FillerOf(*message, at)) return false;
  }
  return true;
}

}  // namespace mycelium::test

#endif  // TESTS_SIMULATION_SIMULATED_MESSAGE_H_
