#include "mycelium/cli/status_options.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace mycelium {
namespace {

TEST(StatusOptionsTest, NothingMeansEverybodyWithinTwoSeconds) {
  const auto options = ParseStatusOptions({});
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->topology, "");
  EXPECT_TRUE(options->nodes.empty());
  EXPECT_EQ(options->timeout, absl::Seconds(2));
  EXPECT_FALSE(options->json);
}

TEST(StatusOptionsTest, ValuesFollowOrAreJoined) {
  const auto options = ParseStatusOptions(
      {"--topology", "t.toml", "--node=a", "--node", "b", "--json",
       "--socket_dir=/run/m", "--timeout", "250ms"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->topology, "t.toml");
  EXPECT_EQ(options->socket_dir, "/run/m");
  EXPECT_EQ(options->nodes, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(options->timeout, absl::Milliseconds(250));
  EXPECT_TRUE(options->json);
}

TEST(StatusOptionsTest, TimeoutHasBounds) {
  EXPECT_TRUE(ParseStatusOptions({"--timeout=10ms"}).ok());
  EXPECT_TRUE(ParseStatusOptions({"--timeout=1m"}).ok());
  for (const char* wrong : {"9ms", "61s", "-1s", "inf", "soon", "2"}) {
    const auto options = ParseStatusOptions({"--timeout", wrong});
    EXPECT_EQ(options.status().message(), "status: --timeout " +
                                              std::string(wrong) +
                                              " is no time from 10ms to 1m");
  }
}

TEST(StatusOptionsTest, WrongWordsAreNamed) {
  EXPECT_EQ(ParseStatusOptions({"--node"}).status().message(),
            "status: --node needs a value");
  EXPECT_EQ(ParseStatusOptions({"--topology="}).status().message(),
            "status: --topology needs a value");
  for (const char* word : {"feed", "--nodes=x", "-j"}) {
    EXPECT_EQ(ParseStatusOptions({word}).status().message(),
              "status: unknown word " + std::string(word) +
                  "; known: --topology, --socket_dir, --node, --timeout, "
                  "--json");
  }
}

}  // namespace
}  // namespace mycelium
