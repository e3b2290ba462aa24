#include "mycelium/capi/handles.h"

#include "absl/strings/string_view.h"
#include "mycelium/capi/status.h"

namespace mycelium {
namespace {

// `made` returns the C++ object of a handle, which is not null.
template <typename Handle, typename Made>
absl::Status Check(const Handle* handle, absl::string_view name, Made made) {
  if (absl::Status given = CheckGiven(handle, name); !given.ok()) return given;
  return made(*handle).CheckNotForked();
}

}  // namespace

absl::Status CheckRuntime(const MyceliumRuntime* runtime) {
  return Check(
      runtime, "runtime", [](auto& handle) -> auto& { return *handle.bus; });
}

absl::Status CheckPublisher(const MyceliumPublisher* publisher) {
  return Check(
      publisher, "publisher",
      [](auto& handle) -> auto& { return handle.publisher; });
}

absl::Status CheckLoan(const MyceliumLoan* loan) {
  return Check(
      loan, "loan", [](auto& handle) -> auto& { return handle.loan; });
}

absl::Status CheckSubscriber(const MyceliumSubscriber* subscriber) {
  return Check(
      subscriber, "subscriber",
      [](auto& handle) -> auto& { return handle.subscriber; });
}

absl::Status CheckEnd(const MyceliumRuntime* runtime,
                      const MyceliumType* type) {
  if (absl::Status good = CheckRuntime(runtime); !good.ok()) return good;
  return CheckGiven(type, "type");
}

}  // namespace mycelium
