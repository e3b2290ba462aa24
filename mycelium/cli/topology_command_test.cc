#include "mycelium/cli/topology_command.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mycelium/cli/command.h"

namespace mycelium {
namespace {

class TopologyCommandTest : public testing::Test {
 protected:
  std::string Write(const std::string& text) {
    const std::string path = testing::TempDir() + "/command.toml";
    std::ofstream(path) << text;
    return path;
  }

  CommandResult Run(const std::vector<std::string>& arguments) {
    return RunCommand(
        Environment::Real(), [](const std::string&) { return std::nullopt; },
        arguments);
  }

  const std::string good_ =
      "socket_dir = \"/run/m\"\n"
      "[[nodes]]\nname = \"feed\"\nservices = [\"prices\", \"trades\"]\n"
      "[[nodes]]\nname = \"brain\"\nservices = [\"strategy\"]\n"
      "[[routes]]\ntopics = [\"t\"]\noverflow = \"drop_oldest\"\ndepth = 9\n"
      "[[routes]]\ntopics = [\"u\"]\noverflow = \"latest\"\ndepth = 9\n";
};

// The block of docs/topology.md whose fence is followed by `info`.
std::string BlockOfPage(const std::string& info) {
  std::ifstream file("docs/topology.md");
  std::stringstream page;
  page << file.rdbuf();
  const std::string text = page.str();
  const std::string fence = absl::StrCat("\n```", info, "\n");
  const size_t start = text.find(fence);
  if (start == std::string::npos) return "";
  const size_t body = start + fence.size();
  return text.substr(body, text.find("```\n", body) - body);
}

TEST_F(TopologyCommandTest, AnswerInTheGuideIsTheRealOne) {
  const std::string file = Write(BlockOfPage("toml explained"));
  const std::string shown = BlockOfPage("console");
  const std::vector<std::string> halves =
      absl::StrSplit(shown, absl::MaxSplits('\n', 1));
  ASSERT_EQ(halves.size(), 2u);
  absl::string_view line = halves[0];
  ASSERT_TRUE(absl::ConsumePrefix(&line, "$ mycelium ")) << line;
  std::vector<std::string> words = absl::StrSplit(line, ' ');
  std::replace(words.begin(), words.end(), std::string("topology.toml"), file);
  const CommandResult result = Run(words);
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(absl::StrReplaceAll(result.out, {{file, "topology.toml"}}),
            halves[1]);
}

TEST_F(TopologyCommandTest, CheckCountsWhatAGoodFileHas) {
  const std::string file = Write(good_);
  const CommandResult result = Run({"topology", "check", file});
  EXPECT_EQ(result.exit_code, kExitOk);
  EXPECT_EQ(result.err, "");
  const std::string head =
      file + ": ok: 2 nodes, 3 services, 2 routes\ndigest ";
  EXPECT_EQ(result.out.substr(0, head.size()), head);
  EXPECT_EQ(result.out.size(), head.size() + 64 + 1);
}

TEST_F(TopologyCommandTest, CheckPrintsEveryErrorToStandardError) {
  const std::string file = Write("[[nodes]]\nname = \"\"\nport = 0\n");
  const CommandResult result = Run({"topology", "check", file});
  EXPECT_EQ(result.exit_code, kExitInvalid);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, file + ":2:8: [[nodes]]: name is empty\n" + file +
                            ":3:8: [[nodes]]: port 0 is out of bounds; 1 to "
                            "65535\n");
}

TEST_F(TopologyCommandTest, CheckNamesTheMissingFile) {
  const CommandResult result = Run({"topology", "check", "/nowhere/t.toml"});
  EXPECT_EQ(result.exit_code, kExitInvalid);
  EXPECT_EQ(result.err, "/nowhere/t.toml: no such file\n");
}

TEST_F(TopologyCommandTest, ExplainPrintsTransportRuleAndWhenASettingCounts) {
  const std::string file = Write(good_);
  const auto explain = [&](const std::string& topic) {
    return Run({"topology", "explain", file, "prices", "strategy", "--topic",
                topic})
        .out;
  };
  const std::string head =
      "prices -> strategy\ntransport: shm\naddress: /run/m/brain.sock\n"
      "rule: same host: default\n";
  const std::string if_drops =
      " (if a subscription asks for drop_newest or drop_oldest)\n";
  const std::string if_waits = " (if a subscription asks for block)\n";
  const std::string tail = "retain: 5s\nwait: adaptive\nspin: 50us\n";
  EXPECT_EQ(Run({"topology", "explain", file, "prices", "strategy"}).out,
            head + "overflow: block\ndepth: 1024" + if_drops + "window: 16" +
                if_drops + "lane_bytes: 4194304\npublish_timeout: 1s\n" + tail);
  EXPECT_EQ(explain("t"), head +
                              "overflow: drop_oldest\ndepth: 9\nwindow: 16\n"
                              "lane_bytes: 4194304\npublish_timeout: 1s" +
                              if_waits + tail);
  EXPECT_EQ(explain("u"), head + "overflow: latest\ndepth: 1; 9" + if_drops +
                              "window: 1; 16" + if_drops +
                              "lane_bytes: 4194304\npublish_timeout: 1s" +
                              if_waits + tail);
}

// As docs/topology.md says of the two: a link has one `retain`, and a lane in
// one process is for all publishers.
TEST_F(TopologyCommandTest, ExplainPrintsTheRetainThatHoldsForTheLink) {
  const std::string file =
      Write(good_ + "[[routes]]\nfrom = \"strategy\"\nretain = \"30s\"\n");
  const std::string text =
      Run({"topology", "explain", file, "prices", "strategy"}).out;
  EXPECT_NE(text.find("retain: 30s (the longest between nodes feed and "
                      "brain)\n"),
            std::string::npos)
      << text;
}

TEST_F(TopologyCommandTest, ExplainSaysThatASharedLaneMayBeOfAnotherSize) {
  const std::string file =
      Write(good_ +
            "[[routes]]\nto = \"strategy\"\nlane_bytes = \"16MiB\"\n"
            "[[routes]]\nfrom = \"strategy\"\nto = \"prices\"\nlane_bytes = "
            "\"32MiB\"\n");
  const std::string there =
      Run({"topology", "explain", file, "prices", "strategy"}).out;
  EXPECT_NE(there.find("lane_bytes: 16777216 (4194304 to 16777216 where a lane "
                       "is shared: that of whoever matches first)\n"),
            std::string::npos)
      << there;
  const std::string back =
      Run({"topology", "explain", file, "strategy", "prices"}).out;
  EXPECT_NE(back.find("lane_bytes: 33554432 (4194304 to 33554432 where"),
            std::string::npos)
      << back;
}

TEST_F(TopologyCommandTest, ExplainOfOneNodePrintsTheLaneOfAllPublishers) {
  const std::string file = Write(
      "socket_dir = \"/run/m\"\n"
      "[[nodes]]\nname = \"n\"\nservices = [\"a\", \"b\"]\n"
      "[[routes]]\nto = \"b\"\nlane_bytes = \"16MiB\"\n"
      "[[routes]]\nfrom = \"a\"\nto = \"b\"\nlane_bytes = \"8MiB\"\n");
  const std::string text = Run({"topology", "explain", file, "a", "b"}).out;
  EXPECT_NE(text.find("lane_bytes: 16777216\n"), std::string::npos) << text;
  EXPECT_NE(text.find("retain: 5s (no effect: one node)\n"), std::string::npos)
      << text;
}

TEST_F(TopologyCommandTest, ExplainSaysThatSpinCountsForAdaptiveWaitsOnly) {
  const std::string file =
      Write(good_ + "[defaults]\nwait = \"block\"\nspin = \"9us\"\n");
  const std::string text =
      Run({"topology", "explain", "--topic=t", file, "prices", "strategy"}).out;
  EXPECT_NE(text.find("wait: block\nspin: 9us (no effect: wait is block)\n"),
            std::string::npos)
      << text;
}

TEST_F(TopologyCommandTest, ExplainNamesTheNearestService) {
  const std::string file = Write(good_);
  const CommandResult result =
      Run({"topology", "explain", file, "prices", "stratgy"});
  EXPECT_EQ(result.exit_code, kExitInvalid);
  EXPECT_EQ(result.err,
            file + ": no service or node \"stratgy\"; nearest: strategy\n");
}

TEST_F(TopologyCommandTest, WrongCommandLinesSayWhatIsKnown) {
  struct Case {
    std::vector<std::string> arguments;
    std::string error;
  };
  const Case cases[] = {
      {{"topology"}, "topology: no subcommand; known: check, explain"},
      {{"topology", "show"},
       "topology: unknown subcommand show; known: check, explain"},
      {{"topology", "check"}, "topology check takes one FILE"},
      {{"topology", "check", "a", "b"}, "topology check takes one FILE"},
      {{"topology", "check", "--strict"},
       "topology check: unknown option --strict; there are none"},
      {{"topology", "explain", "f", "a"},
       "topology explain takes FILE FROM TO"},
      {{"topology", "explain", "f", "a", "b", "--topic"},
       "topology explain: --topic needs a value"},
      {{"topology", "explain", "f", "a", "b", "--topics=x"},
       "topology explain: unknown option --topics=x; known: --topic"},
  };
  for (const Case& wrong : cases) {
    const CommandResult result = Run(wrong.arguments);
    EXPECT_EQ(result.exit_code, kExitUsage);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.err, "mycelium: " + wrong.error + "\n" + UsageText());
  }
}

}  // namespace
}  // namespace mycelium
