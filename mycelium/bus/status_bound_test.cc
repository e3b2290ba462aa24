#include "mycelium/bus/status_bound.h"

#include <string>

#include "gtest/gtest.h"

namespace mycelium {
namespace {

v1::NodeStatus StatusWith(int flows) {
  v1::NodeStatus status;
  status.set_node("node");
  status.add_services()->set_name("service");
  status.add_refusals()->set_why(std::string(500, 'w'));
  status.add_links()->set_last_error(std::string(500, 'e'));
  status.add_publishers()->set_topic(std::string(200, 'p'));
  status.add_subscriptions()->set_topic(std::string(200, 's'));
  for (int i = 0; i < flows; ++i) {
    v1::FlowStatus& flow = *status.add_flows();
    flow.set_topic(std::string(100, 't'));
    flow.set_accepted(static_cast<uint64_t>(i));
  }
  return status;
}

TEST(StatusBoundTest, WhatFitsExactlyIsLeftAsItIs) {
  v1::NodeStatus status = StatusWith(50);
  const std::string before = status.SerializeAsString();
  LeaveOutBeyond(before.size(), &status);
  EXPECT_EQ(status.SerializeAsString(), before);
}

TEST(StatusBoundTest, OneByteTooManyLeavesOutTheLastFlows) {
  v1::NodeStatus status = StatusWith(50);
  const size_t bytes_max = status.ByteSizeLong() - 1;
  LeaveOutBeyond(bytes_max, &status);
  EXPECT_LE(status.ByteSizeLong(), bytes_max);
  EXPECT_GT(status.flows_left_out(), 0u);
  EXPECT_EQ(status.flows_size() + static_cast<int>(status.flows_left_out()),
            50);
  EXPECT_EQ(status.flows(0).accepted(), 0u);
  EXPECT_EQ(status.links_size(), 1);
  EXPECT_EQ(status.refusals_size(), 1);
  EXPECT_EQ(status.publishers_size(), 1);
  EXPECT_EQ(status.subscriptions_size(), 1);
}

TEST(StatusBoundTest, WhyNobodyIsHeardGoesLast) {
  v1::NodeStatus status = StatusWith(50);
  LeaveOutBeyond(800, &status);
  EXPECT_LE(status.ByteSizeLong(), 800u);
  EXPECT_EQ(status.refusals_size(), 1);
  EXPECT_EQ(status.links_left_out(), 1u);
  EXPECT_EQ(status.flows_left_out(), 50u);
  EXPECT_EQ(status.node(), "node");
}

TEST(StatusBoundTest, FloodOfFlowsFitsIntoTheBound) {
  v1::NodeStatus status = StatusWith(20'000);
  LeaveOutBeyond(kStatusBytesMax, &status);
  EXPECT_LE(status.ByteSizeLong(), kStatusBytesMax);
  EXPECT_GT(status.ByteSizeLong(), kStatusBytesMax * 8 / 10);
  EXPECT_EQ(
      static_cast<uint64_t>(status.flows_size()) + status.flows_left_out(),
      20'000u);
}

}  // namespace
}  // namespace mycelium
