#include "mycelium/cli/status_text.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/cli/seen_nodes.h"

namespace mycelium {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string TextOf(const HostView& view) {
  return StatusText(view, Diagnose(view));
}

TEST(StatusTextTest, PairThatTalksIsToldAsBlocksAndATable) {
  HostView view = TalkingPair();
  AddPublisher(view.nodes[0], "from", "ticks", 1);
  view.nodes[0].status.add_services()->set_name("from");
  v1::EndpointStatus& endpoint = *view.nodes[0].status.add_endpoints();
  endpoint.set_transport("shm");
  endpoint.set_address("/run/m/feed.sock");
  EXPECT_EQ(TextOf(view),
            "feed: running, pid 4711, mycelium 0.3.0, up 1m2s\n"
            "  services: from\n"
            "  listens: shm /run/m/feed.sock\n"
            "  publishes: ticks (2)\n"
            "  links:\n"
            "    brain over shm, connected for 12s, dialled at "
            "/run/m/brain.sock\n"
            "\n"
            "brain: running, pid 4711, mycelium 0.3.0, up 1m2s\n"
            "  subscribes: ticks\n"
            "  links:\n"
            "    feed over shm, connected for 12s\n"
            "\n"
            "Flows:\n"
            "  topic  from       to        transport  accepted  delivered  in "
            "flight  dropped\n"
            "  ticks  feed/from  brain/to  shm              10          8     "
            "     2  0\n"
            "\n"
            "All are connected.\n");
}

TEST(StatusTextTest, PidIsTheKernelsAndNotTheNodes) {
  HostView view = TalkingPair();
  view.nodes[0].status.set_pid(1);
  view.nodes[1].pid = 0;
  EXPECT_THAT(TextOf(view), HasSubstr("feed: running, pid 4711, mycelium"));
  EXPECT_THAT(TextOf(view),
              HasSubstr("brain: running, in another pid namespace, mycelium"));
}

TEST(StatusTextTest, WhatIsWrongStandsAtTheEnd) {
  HostView view = TalkingPair();
  view.nodes[1] = AbsentNode("brain", NodeState::kStopped, "pid 7 is stopped");
  view.nodes[0].status.mutable_links(0)->set_is_up(false);
  const std::string text = TextOf(view);
  EXPECT_THAT(text, HasSubstr("\nbrain: stopped: pid 7 is stopped\n"));
  EXPECT_THAT(text, HasSubstr("\nNot talking:\n"
                              "- node brain does not answer: pid 7 is "
                              "stopped\n"
                              "- link of node feed to node brain"));
  EXPECT_THAT(text, Not(HasSubstr("All are connected")));
}

TEST(StatusTextTest, WhoWasNotAskedIsNotSaidToBeConnected) {
  HostView view = TalkingPair();
  view.nodes.push_back(AbsentNode("b", NodeState::kNotAsked, "it is far"));
  view.nodes.push_back(AbsentNode("c", NodeState::kNotAsked, "it is far"));
  EXPECT_THAT(TextOf(view), HasSubstr("\nAll that were asked are connected; "
                                      "not asked: b, c.\n"));
}

TEST(StatusTextTest, WhatAnUnseenNodeCountedIsADash) {
  HostView view = TalkingPair();
  view.nodes[1] = AbsentNode("brain", NodeState::kNotAsked, "elsewhere");
  EXPECT_THAT(TextOf(view), HasSubstr("        10          -          2  0\n"));
}

TEST(StatusTextTest, DropsAreGivenByReason) {
  HostView view = TalkingPair();
  v1::DropStatus& drop = *view.nodes[0].status.mutable_flows(0)->add_dropped();
  drop.set_reason("overflow");
  drop.set_messages(3);
  EXPECT_THAT(TextOf(view), HasSubstr("  3 (overflow)\n"));
  v1::DropStatus& late = *view.nodes[1].status.mutable_flows(0)->add_dropped();
  late.set_reason("undecodable");
  late.set_messages(1);
  EXPECT_THAT(TextOf(view), HasSubstr("  4 (overflow 3, undecodable 1)\n"));
}

TEST(StatusTextTest, FallbackAndDriftAreToldThoughAllTalk) {
  HostView view = TalkingPair();
  view.topology_digest = std::string(32, 'd');
  view.nodes[0].status.mutable_links(0)->set_fallback("no memory left");
  view.nodes[0].status.set_topology_digest(std::string(32, 'e'));
  view.nodes[1].in_topology = false;
  const std::string text = TextOf(view);
  EXPECT_THAT(text, HasSubstr("; not in shared memory: no memory left\n"));
  EXPECT_THAT(text, HasSubstr("  topology: the node runs with another one"));
  EXPECT_THAT(text, HasSubstr("  topology: has no node of this name\n"));
  EXPECT_THAT(text, HasSubstr("All are connected.\n"));
}

TEST(StatusTextTest, WhatWasLeftOutIsCounted) {
  HostView view = TalkingPair();
  view.nodes[0].status.set_flows_left_out(7);
  view.nodes[0].status.set_links_left_out(3);
  EXPECT_THAT(TextOf(view), HasSubstr("  7 more that nodes left out\n"));
  EXPECT_THAT(TextOf(view), HasSubstr("    3 more\n"));
}

TEST(StatusTextTest, WordsOfOthersDoNotControlTheTerminal) {
  HostView view;
  view.nodes = {AbsentNode("evil\x1b[2J\nname\xc2\x9b", NodeState::kRefused,
                           "line\r\nline")};
  const std::string text = TextOf(view);
  EXPECT_THAT(text, HasSubstr("evil?[2J?name?: refused: line??line\n"));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace mycelium
