#include "mycelium/base/mapping.h"

#include <sys/mman.h>

#include "absl/strings/str_cat.h"

namespace mycelium {

absl::StatusOr<Mapping> Mapping::Private(Sys& sys, size_t bytes) {
  int64_t error = 0;
  void* const address =
      sys.Map(bytes, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, &error);
  if (address == nullptr) {
    return ErrnoStatus(error, absl::StrCat("map ", bytes, " bytes"));
  }
  Mapping mapping;
  mapping.sys_ = &sys;
  mapping.bytes_ = absl::MakeSpan(static_cast<std::byte*>(address), bytes);
  return mapping;
}

Mapping::~Mapping() {
  if (!bytes_.empty()) sys_->Unmap(bytes_.data(), bytes_.size());
}

}  // namespace mycelium
