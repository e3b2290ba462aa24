#ifndef MYCELIUM_CAPI_STATUS_H_
#define MYCELIUM_CAPI_STATUS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mycelium/capi/mycelium.h"
#include "mycelium/schema/digest.h"
#include "proto/mycelium/v1/schema_mismatch.pb.h"

namespace mycelium {

// How the C functions return: each keeps its thread's last error, as
// conventions (2) and (3) of mycelium.h promise.
//
// Thread safety: each thread has a last error of its own.

// The number of the status, whose text is kept unless it is OK.
mycelium_status Returned(const absl::Status& status);

// The same for functions that return a handle.
template <typename Handle>
Handle* ReturnedNull(const absl::Status& status) {
  (void)Returned(status);
  return nullptr;
}

// Checks of arguments, whose statuses name the argument.

// INVALID_ARGUMENT: `pointer` is NULL.
absl::Status CheckGiven(const void* pointer, absl::string_view name);

// The same for a function.
absl::Status CheckCallback(bool is_given);

// The most that frame_bytes_max can be, so that adding a header to a size does
// not overflow.
inline constexpr size_t kBufferBytesMax = size_t{256} << 20;

// INVALID_ARGUMENT: NULL with a size, or more than any message may have.
absl::Status CheckBuffer(const void* data, size_t size);

// Structs that the caller fills. A struct of a program that was compiled with
// an older header is smaller: it has only the fields that there were then.
// These are the sizes of version 1, the smallest, which stay as they are while
// fields are added. New fields go behind the padding at the end of version 1,
// since an older program has not set that padding.
inline constexpr size_t kRuntimeOptionsBytesMin = 40;
inline constexpr size_t kPublisherOptionsBytesMin = 32;
inline constexpr size_t kSubscriberOptionsBytesMin = 48;
inline constexpr size_t kStatsBytesMin = 56;
inline constexpr size_t kEndpointStatsBytesMin = 72;
inline constexpr size_t kSettingsBytesMin = 64;
inline constexpr size_t kLimitsBytesMin = 64;

// INVALID_ARGUMENT: no version of the struct that is known has that size.
absl::Status CheckStructSize(size_t given, size_t bytes_min, size_t bytes_max,
                             absl::string_view name);

// Copies the fields that the caller's struct has to `read`, which begins with
// the defaults of all.
template <typename Struct>
absl::Status ReadStruct(const Struct* given, size_t bytes_min,
                        absl::string_view name, Struct* read) {
  const size_t bytes = given->struct_size;
  absl::Status known = CheckStructSize(bytes, bytes_min, sizeof *read, name);
  if (known.ok()) std::memcpy(read, given, bytes);
  return known;
}

// Copies `made` to the fields that the caller's struct has. REQUIRES:
// CheckStructSize() was OK.
template <typename Struct>
void WriteStruct(Struct made, Struct* given) {
  made.struct_size = given->struct_size;
  std::memcpy(given, &made, made.struct_size);
}

absl::StatusOr<Digest> DigestFrom(const uint8_t* digest, size_t size);

// INVALID_ARGUMENT: the time is negative.
absl::StatusOr<absl::Duration> TimeoutFrom(int64_t timeout_ms);

// Borrows the mismatch.
MyceliumSchemaMismatch ViewOf(const v1::SchemaMismatch& mismatch);

// "" for NULL.
inline std::string TextFrom(const char* text) {
  return text == nullptr ? std::string() : std::string(text);
}

}  // namespace mycelium

#endif  // MYCELIUM_CAPI_STATUS_H_
