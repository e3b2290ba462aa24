#include "mycelium/cli/process_state.h"

#include <fcntl.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mycelium/base/fd.h"

namespace mycelium {

bool IsStopped(Sys& sys, int64_t pid) {
  if (pid <= 0) return false;
  const int64_t opened =
      sys.Open(absl::StrCat("/proc/", pid, "/stat").c_str(), O_RDONLY, 0);
  if (opened < 0) return false;
  const Fd file(sys, static_cast<int>(opened));
  char bytes[512];
  const int64_t count = sys.Read(file.get(), bytes, sizeof bytes);
  if (count <= 0) return false;
  // "PID (NAME) STATE ...", where the name may have brackets of its own.
  const absl::string_view text(bytes, static_cast<size_t>(count));
  const size_t name_end = text.rfind(") ");
  if (name_end == absl::string_view::npos || name_end + 2 >= text.size()) {
    return false;
  }
  const char state = text[name_end + 2];
  return state == 'T' || state == 't';
}

}  // namespace mycelium
