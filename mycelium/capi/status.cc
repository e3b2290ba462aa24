#include "mycelium/capi/status.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "mycelium/routing/schema_mismatch.h"

namespace mycelium {
namespace {

constexpr int64_t kTimeoutMsMax = int64_t{1000} * 3600 * 24 * 365;

struct LastError {
  std::string text;
  std::optional<v1::SchemaMismatch> mismatch;
  MyceliumSchemaMismatch view = {};  // Into `mismatch`.
};

LastError& LastErrorOfThread() {
  thread_local LastError error;
  return error;
}

const uint8_t* DigestOrNull(const std::string& digest) {
  if (digest.size() != MYCELIUM_DIGEST_BYTES) return nullptr;
  return reinterpret_cast<const uint8_t*>(digest.data());
}

}  // namespace

mycelium_status Returned(const absl::Status& status) {
  if (status.ok()) return MYCELIUM_OK;
  LastError& last = LastErrorOfThread();
  last.text = std::string(status.message());
  last.mismatch = SchemaMismatchOf(status);
  return static_cast<mycelium_status>(status.code());
}

absl::Status CheckGiven(const void* pointer, absl::string_view name) {
  if (pointer != nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is NULL"));
}

absl::Status CheckCallback(bool is_given) {
  if (is_given) return absl::OkStatus();
  return absl::InvalidArgumentError("callback is NULL");
}

absl::Status CheckBuffer(const void* data, size_t size) {
  if (size > kBufferBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a size of ", size, " bytes; a message has at most ", kBufferBytesMax));
  }
  if (data != nullptr || size == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("data is NULL and its size is ", size));
}

absl::Status CheckStructSize(size_t given, size_t bytes_min, size_t bytes_max,
                             absl::string_view name) {
  // Each version of a struct ends where a pointer could begin.
  if (given >= bytes_min && given <= bytes_max && given % alignof(void*) == 0) {
    return absl::OkStatus();
  }
  if (given > bytes_max) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, ".struct_size is ", given, ", and at most ", bytes_max,
        " are known; the program needs a newer library"
        ", or the size was not set with the ..._INIT macro"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat(name, ".struct_size is ", given, ", expected ", bytes_min,
                   " to ", bytes_max, " in steps of ", alignof(void*),
                   "; set it with the ..._INIT macro"));
}

absl::StatusOr<Digest> DigestFrom(const uint8_t* digest, size_t size) {
  if (absl::Status given = CheckGiven(digest, "digest"); !given.ok()) {
    return given;
  }
  return Digest::FromBytes(
      absl::string_view(reinterpret_cast<const char*>(digest), size));
}

absl::StatusOr<absl::Duration> TimeoutFrom(int64_t timeout_ms) {
  if (timeout_ms < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a timeout of ", timeout_ms, " ms is negative"));
  }
  return absl::Milliseconds(std::min(timeout_ms, kTimeoutMsMax));
}

MyceliumSchemaMismatch ViewOf(const v1::SchemaMismatch& mismatch) {
  MyceliumSchemaMismatch view = {};
  view.topic = mismatch.topic().c_str();
  view.type_name = mismatch.type().c_str();
  view.local_digest = DigestOrNull(mismatch.local_digest());
  view.remote_digest = DigestOrNull(mismatch.remote_digest());
  view.difference = mismatch.difference().c_str();
  view.remote_node = mismatch.remote_node().c_str();
  return view;
}

}  // namespace mycelium

const char* mycelium_last_error(void) {
  return mycelium::LastErrorOfThread().text.c_str();
}

const MyceliumSchemaMismatch* mycelium_last_schema_mismatch(void) {
  mycelium::LastError& last = mycelium::LastErrorOfThread();
  if (!last.mismatch.has_value()) return nullptr;
  last.view = mycelium::ViewOf(*last.mismatch);
  return &last.view;
}

const char* mycelium_status_name(mycelium_status status) {
  switch (status) {
    case MYCELIUM_OK:
      return "OK";
    case MYCELIUM_INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case MYCELIUM_DEADLINE_EXCEEDED:
      return "DEADLINE_EXCEEDED";
    case MYCELIUM_NOT_FOUND:
      return "NOT_FOUND";
    case MYCELIUM_ALREADY_EXISTS:
      return "ALREADY_EXISTS";
    case MYCELIUM_PERMISSION_DENIED:
      return "PERMISSION_DENIED";
    case MYCELIUM_RESOURCE_EXHAUSTED:
      return "RESOURCE_EXHAUSTED";
    case MYCELIUM_FAILED_PRECONDITION:
      return "FAILED_PRECONDITION";
    case MYCELIUM_UNIMPLEMENTED:
      return "UNIMPLEMENTED";
    case MYCELIUM_INTERNAL:
      return "INTERNAL";
    case MYCELIUM_UNAVAILABLE:
      return "UNAVAILABLE";
    case MYCELIUM_DATA_LOSS:
      return "DATA_LOSS";
    default:
      return "UNKNOWN";
  }
}
