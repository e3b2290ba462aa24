#include "mycelium/cli/topology_command.h"

#include <gtest/gtest.h>

#include <fstream>
#include <optional>
#include <string>
#include <vector>

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

TEST_F(TopologyCommandTest, ExplainPrintsTransportRuleAndWhatHasAnEffect) {
  const std::string file = Write(good_);
  const auto explained = [](const std::string& overflow) {
    return "prices -> strategy\ntransport: shm\naddress: /run/m/brain.sock\n"
           "rule: same host: default\n" +
           overflow +
           "lane_bytes: 4194304\npublish_timeout: 1s\nretain: 5s\n"
           "wait: adaptive\nspin: 50us\n";
  };
  EXPECT_EQ(Run({"topology", "explain", file, "prices", "strategy"}).out,
            explained("overflow: block\n"));
  EXPECT_EQ(
      Run({"topology", "explain", file, "prices", "strategy", "--topic", "t"})
          .out,
      explained("overflow: drop_oldest\ndepth: 9\nwindow: 16\n"));
  EXPECT_EQ(
      Run({"topology", "explain", "--topic=u", file, "prices", "strategy"}).out,
      explained("overflow: latest\ndepth: 1\nwindow: 1\n"));
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
