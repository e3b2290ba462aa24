// A program that depends on //mycelium:shared has the runtime in libmycelium.so
// and nowhere else.
#include <dlfcn.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/base/sys.h"
#include "mycelium/version.h"

namespace mycelium {
namespace {

using ::testing::EndsWith;

std::string FileThatHolds(void* address) {
  Dl_info info;
  return dladdr(address, &info) == 0 ? "" : info.dli_fname;
}

TEST(SharedLibraryTest, FunctionsAreInTheSharedLibrary) {
  EXPECT_THAT(FileThatHolds(reinterpret_cast<void*>(&Version)),
              EndsWith("/libmycelium.so"));
  EXPECT_THAT(FileThatHolds(reinterpret_cast<void*>(&Sys::Real)),
              EndsWith("/libmycelium.so"));
}

TEST(SharedLibraryTest, FunctionsWork) {
  EXPECT_STRNE(Version(), "");
  EXPECT_GT(Sys::Real().GetPid(), 0);
}

}  // namespace
}  // namespace mycelium
