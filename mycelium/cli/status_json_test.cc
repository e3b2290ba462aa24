#include "mycelium/cli/status_json.h"

#include <string>

#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "mycelium/cli/seen_nodes.h"

namespace mycelium {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

class StatusJsonTest : public ::testing::Test {
 protected:
  static Struct Parsed(const HostView& view) {
    Struct parsed;
    const std::string json = StatusJson(view, Diagnose(view));
    const auto status =
        google::protobuf::util::JsonStringToMessage(json, &parsed);
    EXPECT_TRUE(status.ok()) << status.ToString() << "\n" << json;
    return parsed;
  }
  static const Value& Of(const Struct& object, const std::string& name) {
    EXPECT_EQ(object.fields().count(name), 1u) << name;
    return object.fields().at(name);
  }
  static const Struct& At(const Struct& object, const std::string& name,
                          int index) {
    return Of(object, name).list_value().values(index).struct_value();
  }
};

TEST_F(StatusJsonTest, RunningNodeHasAllThatItSaid) {
  const Struct all = Parsed(TalkingPair());
  EXPECT_TRUE(Of(all, "all_connected").bool_value());
  EXPECT_EQ(Of(all, "not_talking").list_value().values_size(), 0);
  const Struct& feed = At(all, "nodes", 0);
  EXPECT_EQ(Of(feed, "name").string_value(), "feed");
  EXPECT_EQ(Of(feed, "state").string_value(), "running");
  EXPECT_EQ(Of(feed, "pid").number_value(), 4711);
  EXPECT_EQ(Of(feed, "up_for_ms").number_value(), 62'345);
  EXPECT_EQ(Of(feed, "incarnation").string_value().size(), 16u);
  const Struct& link = At(feed, "links", 0);
  EXPECT_EQ(Of(link, "peer").string_value(), "brain");
  EXPECT_TRUE(Of(link, "is_up").bool_value());
  EXPECT_EQ(Of(link, "state").string_value(), "connected");
  const Struct& flow = At(feed, "flows", 0);
  EXPECT_EQ(Of(flow, "accepted").number_value(), 10);
  EXPECT_EQ(Of(flow, "in_flight").number_value(), 2);
  EXPECT_EQ(Of(At(feed, "publishers", 0), "subscribers").number_value(), 1);
  EXPECT_EQ(Of(Of(feed, "left_out").struct_value(), "flows").number_value(), 0);
}

TEST_F(StatusJsonTest, NameOfAFileThatIsNotUtf8IsShownAsText) {
  HostView view = TalkingPair();
  view.nodes.push_back(AbsentNode("\xff", NodeState::kStale, "it died"));
  view.nodes.back().path = "/run/\xff.sock";
  const Struct all = Parsed(view);
  EXPECT_EQ(Of(At(all, "nodes", 2), "name").string_value(), "\\xff");
  EXPECT_EQ(Of(At(all, "nodes", 2), "path").string_value(), "/run/\\xff.sock");
}

TEST_F(StatusJsonTest, AbsentNodeHasAReasonAndNoStatus) {
  HostView view = TalkingPair();
  view.nodes.push_back(AbsentNode("risk", NodeState::kStale, "it died"));
  const Struct all = Parsed(view);
  EXPECT_FALSE(Of(all, "all_connected").bool_value());
  const Struct& risk = At(all, "nodes", 2);
  EXPECT_EQ(Of(risk, "state").string_value(), "stale");
  EXPECT_EQ(Of(risk, "why").string_value(), "it died");
  EXPECT_EQ(risk.fields().count("links"), 0u);
  const Struct& problem = At(all, "not_talking", 0);
  EXPECT_EQ(Of(problem, "kind").string_value(), "stale");
  EXPECT_EQ(Of(problem, "node").string_value(), "risk");
}

TEST_F(StatusJsonTest, NodesOfWhichNoneWasAskedAreNotAllConnected) {
  HostView view;
  view.nodes = {AbsentNode("b", NodeState::kNotAsked, "it is on host h")};
  const Struct all = Parsed(view);
  EXPECT_FALSE(Of(all, "all_connected").bool_value());
  EXPECT_EQ(Of(At(all, "not_talking", 0), "kind").string_value(),
            "nobody_asked");
}

TEST_F(StatusJsonTest, AnyTextIsQuoted) {
  const std::string name = "q\"b\\s\n\x01\x7f\xc3\xa4";
  HostView view;
  view.nodes = {AbsentNode(name, NodeState::kRefused, name)};
  EXPECT_EQ(Of(At(Parsed(view), "nodes", 0), "name").string_value(), name);
}

TEST_F(StatusJsonTest, NumbersAreExact) {
  HostView view = TalkingPair();
  view.nodes[0].status.mutable_flows(0)->set_accepted(~uint64_t{0});
  EXPECT_NE(StatusJson(view, {}).find("18446744073709551615"),
            std::string::npos);
}

}  // namespace
}  // namespace mycelium
