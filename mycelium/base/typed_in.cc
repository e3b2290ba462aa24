#include "mycelium/base/typed_in.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace mycelium {

absl::Status EnterDirectoryTypedIn() {
  const char* const typed_in = std::getenv("BUILD_WORKING_DIRECTORY");
  if (typed_in == nullptr) return absl::OkStatus();
  std::error_code error;
  std::filesystem::current_path(typed_in, error);
  if (!error) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "BUILD_WORKING_DIRECTORY ", typed_in, ": ", error.message()));
}

}  // namespace mycelium
