#include "mycelium/cli/command.h"

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/base/version.h"
#include "mycelium/cli/status_command.h"

namespace mycelium {
namespace {

using ::testing::HasSubstr;

CommandResult RunWith(const std::vector<std::string>& arguments) {
  return RunCommand(
      Environment::Real(), [](const std::string&) { return std::nullopt; },
      arguments);
}

TEST(CommandTest, HelpIsNoError) {
  EXPECT_EQ(RunWith({"--help"}).exit_code, kExitOk);
  EXPECT_EQ(RunWith({"--help"}).out, UsageText());
  EXPECT_EQ(RunWith({"topology", "check", "--help"}).out, UsageText());
  EXPECT_EQ(RunWith({"status", "--help"}).out, StatusUsageText());
}

TEST(CommandTest, VersionIsThatOfTheLibrary) {
  const CommandResult result = RunWith({"--version"});
  EXPECT_EQ(result.exit_code, kExitOk);
  EXPECT_EQ(result.out, absl::StrCat("mycelium ", Version(), "\n"));
}

TEST(CommandTest, UnknownCommandNamesThoseThereAre) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{}, {"topologie"}}) {
    const CommandResult result = RunWith(arguments);
    EXPECT_EQ(result.exit_code, kExitUsage);
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, HasSubstr("known: topology, status\n"));
    EXPECT_THAT(result.err, HasSubstr(UsageText()));
  }
}

}  // namespace
}  // namespace mycelium
