// Holds docs/topology.md to what the code does: its TOML parses, its errors are
// the real ones and its tables are the constants. The answer of `mycelium
// topology explain` is checked by //mycelium/cli:topology_command_test.

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "mycelium/topology/diagnostics.h"
#include "mycelium/topology/setting_bounds.h"
#include "mycelium/topology/toml_document.h"
#include "mycelium/topology/topology_fixture.h"

namespace mycelium {
namespace {

struct Block {
  std::string info;  // What follows the opening fence.
  std::string text;
};

std::string ReadPage() {
  std::ifstream file("docs/topology.md");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<Block> Blocks() {
  std::vector<Block> blocks;
  bool inside = false;
  for (absl::string_view line : absl::StrSplit(ReadPage(), '\n')) {
    if (absl::StartsWith(line, "```")) {
      inside = !inside;
      if (inside) blocks.push_back({std::string(line.substr(3)), ""});
    } else if (inside) {
      absl::StrAppend(&blocks.back().text, line, "\n");
    }
  }
  return blocks;
}

std::string BlockOf(absl::string_view info) {
  for (const Block& block : Blocks()) {
    if (block.info == info) return block.text;
  }
  ADD_FAILURE() << "no block " << info;
  return "";
}

absl::StatusOr<Topology> ParsePage(absl::string_view text) {
  const EnvLookup env =
      [](const std::string& name) -> std::optional<std::string> {
    if (name == "BRAIN_HOST") return "10.0.1.10";
    if (name == "GATEWAY_PORT") return "9001";
    return std::nullopt;
  };
  return ParseTopology(text, "topology.toml", env, LocalIdentity{"here", 1000});
}

TEST(TopologyDocsTest, EveryExampleParses) {
  int examples = 0;
  for (const Block& block : Blocks()) {
    if (!absl::StartsWith(block.info, "toml")) continue;
    if (block.info == "toml broken") continue;
    ++examples;
    const absl::Status status = ParsePage(block.text).status();
    EXPECT_TRUE(status.ok()) << status << "\n" << block.text;
  }
  EXPECT_GE(examples, 6);
}

TEST(TopologyDocsTest, BrokenExampleHasTheErrorsShown) {
  EXPECT_EQ(
      absl::StrCat(ParsePage(BlockOf("toml broken")).status().message(), "\n"),
      BlockOf("text"));
}

TEST(TopologyDocsTest, EachSettingHasItsRow) {
  const RouteSettings settings;
  const Limits limits;
  const auto ns = [](absl::Duration duration) {
    return absl::ToInt64Nanoseconds(duration);
  };
  struct Default {
    absl::string_view key;
    bool of_node;
    int64_t value;
  };
  const Default defaults[] = {
      {"depth", false, settings.depth},
      {"window", false, settings.window},
      {"lane_bytes", false, settings.lane_bytes},
      {"publish_timeout", false, ns(settings.publish_timeout)},
      {"retain", false, ns(settings.retain)},
      {"spin", false, ns(settings.spin)},
      {"handshake", true, ns(limits.handshake)},
      {"frame_bytes_max", true, limits.frame_bytes_max},
      {"links", true, limits.links},
      {"reconnect_min", true, ns(limits.reconnect_min)},
      {"reconnect_max", true, ns(limits.reconnect_max)},
      {"keepalive", true, ns(limits.keepalive)},
      {"redeliver_max", true, limits.redeliver_max},
  };
  const std::string page = ReadPage();
  ASSERT_EQ(AllSettingBounds().size(), std::size(defaults));
  for (const Default& known : defaults) {
    const SettingBounds& bounds = BoundsOf(known.key);
    const std::string row = absl::StrCat(
        "\n| `", known.key, "` | ",
        known.of_node ? "`[limits]`" : "`[defaults]`, `[[routes]]`", " | ",
        FormatSetting(bounds.unit, known.value), " | ",
        FormatSetting(bounds.unit, bounds.min), " | ",
        FormatSetting(bounds.unit, bounds.max), " |\n");
    EXPECT_TRUE(absl::StrContains(page, row)) << row;
  }
  for (const std::string& row :
       {absl::StrCat("| `overflow` | `[defaults]`, `[[routes]]` | ",
                     WordOf(settings.overflow), " | | |\n"),
        absl::StrCat("| `wait` | `[defaults]`, `[[routes]]` | ",
                     WordOf(settings.wait), " | | |\n")}) {
    EXPECT_TRUE(absl::StrContains(page, row)) << row;
  }
}

TEST(TopologyDocsTest, EachBoundOfTheFileHasItsRow) {
  const std::string page = ReadPage();
  for (const std::string& row :
       {absl::StrCat("| bytes of the file | ", kTopologyBytesMax, " |"),
        absl::StrCat("| nodes | ", kNodesMax, " |"),
        absl::StrCat("| services of a node | ", kServicesPerNodeMax, " |"),
        absl::StrCat("| routes | ", kRoutesMax, " |"),
        absl::StrCat("| topics of a route | ", kTopicsPerRouteMax, " |"),
        absl::StrCat("| entries of `allow_uids` | ", kAllowUidsMax, " |"),
        absl::StrCat("| bytes of a name | ", kNameBytesMax, " |"),
        absl::StrCat("| bytes of a topic | ", kTopicBytesMax, " |"),
        absl::StrCat("| bytes of a socket path | ", kSocketPathBytesMax, " |"),
        absl::StrCat("| levels of nesting | ", kTomlDepthMax, " |"),
        absl::StrCat("| errors reported | ", kErrorsMax, " |")}) {
    EXPECT_TRUE(absl::StrContains(page, absl::StrCat("\n", row, "\n"))) << row;
  }
}

}  // namespace
}  // namespace mycelium
