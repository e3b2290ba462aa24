#ifndef MYCELIUM_CAPI_STATUS_H_
#define MYCELIUM_CAPI_STATUS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mycelium/capi/mycelium.h"
#include "mycelium/schema/digest.h"

namespace mycelium {

// How the C functions return: each keeps its thread's last error, which is what
// conventions (2) and (3) of mycelium.h promise.
//
// Thread safety: what they keep is the calling thread's own.

// The number of the status, whose text is kept unless it is OK.
mycelium_status Returned(const absl::Status& status);

// The same for functions that return a handle.
template <typename Handle>
Handle* ReturnedNull(const absl::Status& status) {
  (void)Returned(status);
  return nullptr;
}

// What arguments have to be, as statuses that name the argument.

// INVALID_ARGUMENT: `pointer` is NULL.
absl::Status CheckGiven(const void* pointer, absl::string_view name);

// INVALID_ARGUMENT: NULL with a size.
absl::Status CheckBuffer(const void* data, size_t size);

// INVALID_ARGUMENT: not the size of such a struct.
absl::Status CheckStructSize(size_t given, size_t expected,
                             absl::string_view name);

absl::StatusOr<Digest> DigestFrom(const uint8_t* digest, size_t size);

// INVALID_ARGUMENT: negative.
absl::StatusOr<absl::Duration> TimeoutFrom(int64_t timeout_ms);

// "" for NULL.
inline std::string TextFrom(const char* text) {
  return text == nullptr ? std::string() : std::string(text);
}

}  // namespace mycelium

#endif  // MYCELIUM_CAPI_STATUS_H_
