#include "mycelium/bus/admission.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace mycelium {
namespace {

constexpr char kAddress[] = "10.0.1.10:9001";

TopologyNode NodeOf(const std::string& name, const std::string& host) {
  TopologyNode node;
  node.name = name;
  node.host = host;
  node.place = host;
  return node;
}

Topology TopologyOf(const TopologyNode& node) {
  Topology topology;
  topology.nodes = {node};
  return topology;
}

RemotePeer PeerWith(const std::vector<std::string>& names) {
  RemotePeer peer;
  peer.address = kAddress;
  peer.has_certificate = true;
  peer.names = names;
  return peer;
}

// Who says that he is node brain, to whom.
enum Node { kInTopology, kInNoTopology, kByHand };
enum Certificate { kNone, kItsOwn, kOfAnother };

// What becomes of a peer, as the table has it.
std::string TextOf(char outcome) {
  switch (outcome) {
    case 'a':
      return "OK";
    case 'c':
      return "PERMISSION_DENIED: the certificate of 10.0.1.10:9001 is not one "
             "of node brain: it is for mallory.example";
    case 't':
      return "PERMISSION_DENIED: node brain at 10.0.1.10:9001 is not in the "
             "topology; allow_anonymous = true would let it in";
    case 'h':
      return "PERMISSION_DENIED: node brain at 10.0.1.10:9001 is not known "
             "here; allow_anonymous = true would let it in";
  }
  return "?";
}

std::string Admitted(Node node, bool allow_anonymous, RemotePeer peer) {
  Topology topology = TopologyOf(
      NodeOf(node == kInTopology ? "brain" : "feed", "brain.example"));
  // What does not count says the opposite.
  BusOptions options;
  options.allow_anonymous =
      node == kByHand ? allow_anonymous : !allow_anonymous;
  topology.allow_anonymous = allow_anonymous;
  return AdmitRemote(node == kByHand ? nullptr : &topology, options, peer,
                     "brain")
      .ToString();
}

// Of each row the outcomes, without and with allow_anonymous: who dials us from
// another machine, from this one; whom we dialled on another, on this one.
struct Row {
  Node node;
  Certificate certificate;
  const char* without;
  const char* with;
};
constexpr Row kRows[] = {
    {kInTopology, kNone, "aaaa", "aaaa"},
    {kInTopology, kItsOwn, "aaaa", "aaaa"},
    {kInTopology, kOfAnother, "cccc", "cccc"},
    {kInNoTopology, kNone, "taaa", "aaaa"},
    {kInNoTopology, kItsOwn, "taaa", "aaaa"},
    {kInNoTopology, kOfAnother, "taaa", "aaaa"},
    {kByHand, kNone, "haaa", "aaaa"},
    {kByHand, kItsOwn, "aaaa", "aaaa"},
    {kByHand, kOfAnother, "aaaa", "aaaa"},
};

TEST(AdmissionTest, WhoMayJoinIsAsTheTableSays) {
  for (const Row& row : kRows) {
    RemotePeer peer;
    if (row.certificate == kItsOwn) peer = PeerWith({"brain.example"});
    if (row.certificate == kOfAnother) peer = PeerWith({"mallory.example"});
    peer.address = kAddress;
    for (size_t column = 0; column < 4; ++column) {
      peer.is_loopback = column % 2 == 1;
      peer.is_dialled = column >= 2;
      SCOPED_TRACE(absl::StrCat("node ", row.node, ", certificate ",
                                row.certificate, ", column ", column));
      EXPECT_EQ(Admitted(row.node, false, peer), TextOf(row.without[column]));
      EXPECT_EQ(Admitted(row.node, true, peer), TextOf(row.with[column]));
    }
  }
}

// Which certificates are a node's.

bool IsAdmitted(const TopologyNode& node,
                const std::vector<std::string>& names) {
  const Topology topology = TopologyOf(node);
  return AdmitRemote(&topology, BusOptions(), PeerWith(names), node.name).ok();
}

TEST(AdmissionTest, AnyNameOfTheCertificateMayBeTheNodes) {
  const TopologyNode brain = NodeOf("brain", "brain.example");
  EXPECT_TRUE(IsAdmitted(brain, {"localhost", "brain.example"}));
  EXPECT_FALSE(IsAdmitted(brain, {"localhost", "brain.example.org"}));
  EXPECT_FALSE(IsAdmitted(brain, {"brain"}));
}

TEST(AdmissionTest, NamesFitInAnyCase) {
  TopologyNode brain = NodeOf("brain", "brain.example");
  brain.host = "Brain.Example";
  EXPECT_TRUE(IsAdmitted(brain, {"Brain.Example"}));
  EXPECT_TRUE(IsAdmitted(brain, {"brain.example"}));
  EXPECT_TRUE(IsAdmitted(brain, {"BRAIN.EXAMPLE"}));
  brain.certificate_name = "node-7";
  EXPECT_TRUE(IsAdmitted(brain, {"Node-7"}));
}

// Another node of the file may be called the same but for case.
TEST(AdmissionTest, NameOfANodeFitsAsItIsOnly) {
  TopologyNode brain = NodeOf("brain", "");
  EXPECT_TRUE(IsAdmitted(brain, {"brain"}));
  EXPECT_FALSE(IsAdmitted(brain, {"Brain"}));
}

TEST(AdmissionTest, HostFitsAsWrittenAndAsCompared) {
  TopologyNode brain = NodeOf("brain", "0:0::1");
  brain.place = "::1";
  EXPECT_TRUE(IsAdmitted(brain, {"0:0::1"}));
  EXPECT_TRUE(IsAdmitted(brain, {"::1"}));
  EXPECT_FALSE(IsAdmitted(brain, {"0::1"}));
}

// A certificate for many hosts does not show which of them dials.
TEST(AdmissionTest, WildcardIsNobodysName) {
  EXPECT_FALSE(
      IsAdmitted(NodeOf("brain", "brain.example.com"), {"*.example.com"}));
}

TEST(AdmissionTest, CertificateNameTakesThePlaceOfTheHost) {
  TopologyNode brain = NodeOf("brain", "brain.example");
  brain.certificate_name = "node-7";
  EXPECT_TRUE(IsAdmitted(brain, {"node-7"}));
  EXPECT_FALSE(IsAdmitted(brain, {"brain.example"}));
}

TEST(AdmissionTest, NodeWithoutAHostIsNamedByItsName) {
  const TopologyNode brain = NodeOf("brain", "");
  EXPECT_TRUE(IsAdmitted(brain, {"brain"}));
  EXPECT_FALSE(IsAdmitted(brain, {""}));
}

TEST(AdmissionTest, CertificateWithoutNamesIsForNobody) {
  const Topology topology = TopologyOf(NodeOf("brain", "brain.example"));
  EXPECT_EQ(
      AdmitRemote(&topology, BusOptions(), PeerWith({}), "brain").ToString(),
      "PERMISSION_DENIED: the certificate of 10.0.1.10:9001 is not one "
      "of node brain: it is for nobody");
}

}  // namespace
}  // namespace mycelium
