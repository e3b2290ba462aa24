#include "mycelium/cli/diagnosis.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/cli/seen_nodes.h"

namespace mycelium {
namespace {

using ::testing::HasSubstr;

// The one problem that there should be.
Problem Only(const HostView& view) {
  const std::vector<Problem> problems = Diagnose(view);
  for (const Problem& problem : problems) SCOPED_TRACE(problem.text);
  EXPECT_EQ(problems.size(), 1u);
  return problems.empty() ? Problem() : problems[0];
}

TEST(DiagnosisTest, NodesThatTalkHaveNoProblem) {
  EXPECT_TRUE(Diagnose(TalkingPair()).empty());
}

TEST(DiagnosisTest, NobodyAtAllIsAProblem) {
  HostView view;
  view.socket_dir = "/run/m";
  EXPECT_EQ(Only(view).kind, "no_nodes");
  EXPECT_EQ(Only(view).text, "no node runs: there is no socket in /run/m");
}

TEST(DiagnosisTest, WhoWasLeftOutIsAProblemThoughTheOthersTalk) {
  HostView view = TalkingPair();
  view.left_out = "it has too many";
  EXPECT_EQ(Only(view).kind, "not_all_asked");
  EXPECT_EQ(Only(view).text,
            "not everybody in /run/m was asked: it has too many; name those "
            "that are meant with --node");
}

TEST(DiagnosisTest, WhereNotAllWereLookedAtNobodyIsNotSaid) {
  HostView view;
  view.left_out = "it has too many";
  EXPECT_EQ(Only(view).kind, "not_all_asked");
}

TEST(DiagnosisTest, NodeThatDoesNotAnswerIsNamedWithTheReason) {
  for (const NodeState state :
       {NodeState::kNotRunning, NodeState::kStale, NodeState::kStopped,
        NodeState::kSilent, NodeState::kRefused, NodeState::kUnclear}) {
    HostView view = TalkingPair();
    view.nodes.push_back(AbsentNode("risk", state, "the reason"));
    const Problem problem = Only(view);
    EXPECT_EQ(problem.kind, NodeStateWord(state));
    EXPECT_EQ(problem.node, "risk");
    EXPECT_THAT(problem.text, HasSubstr("node risk "));
    EXPECT_THAT(problem.text, HasSubstr("the reason"));
  }
}

TEST(DiagnosisTest, NodeOfAnotherHostIsNoProblem) {
  HostView view = TalkingPair();
  view.nodes.push_back(
      AbsentNode("far", NodeState::kNotAsked, "it is on host h: ask there"));
  EXPECT_TRUE(Diagnose(view).empty());
}

TEST(DiagnosisTest, NodesOfWhichNoneCouldBeAskedAreAProblem) {
  HostView view;
  view.nodes = {AbsentNode("b", NodeState::kNotAsked, "it is on host h"),
                AbsentNode("c", NodeState::kNotAsked, "it is on host i")};
  EXPECT_EQ(Only(view).kind, "nobody_asked");
  EXPECT_EQ(Only(view).text,
            "no node of this file could be asked on this host: b, c; start "
            "one, or ask on the host where it runs; one without a peer on its "
            "host can be asked if the file gives it endpoint = { kind = "
            "\"shm\" }");
  // A program of another file that answers says nothing about the nodes of this
  // file.
  view.nodes.push_back(RunningNode("stranger"));
  view.nodes.back().in_topology = false;
  EXPECT_EQ(Only(view).kind, "nobody_asked");
}

TEST(DiagnosisTest, ThatNobodyCouldBeAskedIsNotSaidBesideAnotherProblem) {
  HostView view;
  view.nodes = {AbsentNode("b", NodeState::kNotAsked, "it is on host h"),
                AbsentNode("c", NodeState::kStale, "it died")};
  EXPECT_EQ(Only(view).kind, "stale");
}

TEST(DiagnosisTest, DirectoryThatNobodyNamedIsSaidToDependOnTheUser) {
  HostView view;
  view.socket_dir = "/run/m";
  view.is_default_dir = true;
  EXPECT_EQ(Only(view).text,
            "no node runs: there is no socket in /run/m (socket_dir is not "
            "given, so it depends on the user and XDG_RUNTIME_DIR)");
}

TEST(DiagnosisTest, LinkThatBothEndsMissIsSaidOnceByWhoKnowsWhy) {
  HostView view;
  view.nodes = {RunningNode("a"), RunningNode("b")};
  AddLink(view.nodes[0], "b", false);
  AddLink(view.nodes[1], "a", false, "connect: it rains");
  const Problem problem = Only(view);
  EXPECT_EQ(problem.kind, "link_down");
  EXPECT_EQ(problem.node, "b");
  EXPECT_EQ(problem.peer, "a");
  EXPECT_EQ(problem.text,
            "link of node b to node a at /run/m/a.sock (shm) is not up, "
            "dialling for 12s: connect: it rains");
}

TEST(DiagnosisTest, LinkToANodeThatDoesNotRunIsSaidWithTheNode) {
  HostView view;
  view.nodes = {RunningNode("a"), RunningNode("b"),
                AbsentNode("c", NodeState::kStale, "it died")};
  AddLink(view.nodes[0], "c", false, "connect: refused");
  AddLink(view.nodes[1], "c", false, "connect: refused");
  EXPECT_EQ(Only(view).text,
            "node c is not running: it died; waiting for it: a, b");
}

TEST(DiagnosisTest, LinksToDifferentPeersAreSaidEach) {
  HostView view;
  view.nodes = {RunningNode("a")};
  AddLink(view.nodes[0], "b", false, "one");
  AddLink(view.nodes[0], "c", false, "two");
  AddLink(view.nodes[0], "", false, "three").set_address("/x.sock");
  AddLink(view.nodes[0], "", false, "four").set_address("/y.sock");
  EXPECT_EQ(Diagnose(view).size(), 4u);
}

TEST(DiagnosisTest, RefusalThatBothEndsKnowIsTheSubscribersOnce) {
  HostView view = TalkingPair();
  for (SeenNode& node : view.nodes) node.status.clear_flows();
  view.nodes[0].status.mutable_publishers(0)->set_subscribers(0);
  AddRefusal(view.nodes[0], "from", "ticks", "brain", true, "mirrored");
  AddRefusal(view.nodes[1], "to", "ticks", "feed", false, "price: double");
  const Problem problem = Only(view);
  EXPECT_EQ(problem.kind, "refused_subscription");
  EXPECT_EQ(problem.node, "brain");
  EXPECT_EQ(problem.peer, "feed");
  EXPECT_EQ(problem.topic, "ticks");
  EXPECT_EQ(problem.text,
            "service to of node brain gets nothing from node feed: price: "
            "double");
}

TEST(DiagnosisTest, RefusalIsThePublishersWhereTheSubscriberIsSilent) {
  HostView view = TalkingPair();
  view.nodes[1] = AbsentNode("brain", NodeState::kNotAsked, "elsewhere");
  view.nodes[0].status.clear_flows();
  AddRefusal(view.nodes[0], "from", "ticks", "brain", true, "price: double");
  const Problem problem = Only(view);
  EXPECT_EQ(problem.node, "feed");
  EXPECT_EQ(problem.text,
            "service from of node feed is not heard: price: double");
}

TEST(DiagnosisTest, RefusalWithinOneProcessSaysSo) {
  HostView view;
  view.nodes = {RunningNode("mono")};
  AddPublisher(view.nodes[0], "from", "ticks", 0);
  AddSubscription(view.nodes[0], "to", "ticks");
  AddRefusal(view.nodes[0], "from", "ticks", "", true, "mirrored");
  AddRefusal(view.nodes[0], "to", "ticks", "", false, "price: double");
  EXPECT_THAT(Only(view).text, HasSubstr("another service of its process"));
}

TEST(DiagnosisTest, TopicWithoutSubscriberIsAProblem) {
  HostView view = TalkingPair();
  AddPublisher(view.nodes[0], "from", "news", 0);
  AddPublisher(view.nodes[0], "from", "news", 0);  // One reason for both.
  const Problem problem = Only(view);
  EXPECT_EQ(problem.kind, "nobody_subscribes");
  EXPECT_EQ(problem.topic, "news");
  EXPECT_EQ(problem.text,
            "topic \"news\": service from of node feed publishes it, and "
            "nobody that was seen is subscribed");
}

TEST(DiagnosisTest, SubscriberThatWasNotSeenIsCountedByItsPublisher) {
  HostView view = TalkingPair();
  AddPublisher(view.nodes[0], "from", "news", 1);
  EXPECT_TRUE(Diagnose(view).empty());
}

TEST(DiagnosisTest, TopicWithoutPublisherIsAProblem) {
  HostView view = TalkingPair();
  AddSubscription(view.nodes[1], "to", "news");
  const Problem problem = Only(view);
  EXPECT_EQ(problem.kind, "nobody_publishes");
  EXPECT_EQ(problem.node, "brain");
  EXPECT_EQ(problem.text,
            "topic \"news\": service to of node brain is subscribed, and "
            "nobody that was seen publishes it");
}

TEST(DiagnosisTest, PublisherForAnotherServiceIsNone) {
  HostView view = TalkingPair();
  AddSubscription(view.nodes[1], "to", "news");
  AddPublisher(view.nodes[0], "from", "news", 0).set_target_service("other");
  const std::vector<Problem> problems = Diagnose(view);
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0].kind, "nobody_subscribes");
  EXPECT_THAT(problems[0].text, HasSubstr("publishes it to service other"));
  EXPECT_EQ(problems[1].kind, "nobody_publishes");
}

TEST(DiagnosisTest, PublisherThatWasNotSeenCountsIfItIsConnected) {
  HostView view = TalkingPair();
  view.nodes.erase(view.nodes.begin());
  EXPECT_TRUE(Diagnose(view).empty());
  view.nodes[0].status.mutable_links(0)->set_is_up(false);
  const std::vector<Problem> problems = Diagnose(view);
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0].kind, "link_down");
  EXPECT_EQ(problems[1].kind, "nobody_publishes");
}

TEST(DiagnosisTest, PairWithoutALinkIsAProblem) {
  HostView view = TalkingPair();
  for (SeenNode& node : view.nodes) {
    node.status.clear_links();
    node.status.clear_flows();
  }
  const Problem problem = Only(view);
  EXPECT_EQ(problem.kind, "no_link");
  EXPECT_EQ(problem.peer, "brain");
  EXPECT_THAT(problem.text, HasSubstr("neither dials the other"));
}

TEST(DiagnosisTest, PairThatIsLinkedAndNotMatchedIsAProblem) {
  HostView view = TalkingPair();
  view.nodes[0].status.clear_flows();
  EXPECT_EQ(Only(view).kind, "not_matched");
  // Unless the flow may be among those that were left out.
  view.nodes[0].status.set_flows_left_out(1);
  EXPECT_TRUE(Diagnose(view).empty());
}

TEST(DiagnosisTest, PairWhoseLinkIsDownIsSaidOnceByItsLink) {
  HostView view = TalkingPair();
  for (SeenNode& node : view.nodes) {
    node.status.clear_flows();
    node.status.mutable_links(0)->set_is_up(false);
  }
  EXPECT_EQ(Only(view).kind, "link_down");
}

}  // namespace
}  // namespace mycelium
