#include "mycelium/bus/option_bounds.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/topology/setting_bounds.h"

namespace mycelium {
namespace {

std::string FaultOf(const BusOptions& options) {
  return std::string(CheckOptionBounds(options).message());
}

TEST(OptionBoundsTest, DefaultsAndTheBoundsThemselvesAreAllowed) {
  EXPECT_EQ(CheckOptionBounds(BusOptions()), absl::OkStatus());
  BusOptions options;
  for (const int64_t depth : {int64_t{1}, kDepthMax}) {
    options.settings.depth = depth;
    EXPECT_EQ(FaultOf(options), "");
  }
  options.settings.retain = absl::Hours(24);
  options.settings.publish_timeout = absl::ZeroDuration();
  EXPECT_EQ(FaultOf(options), "");
}

TEST(OptionBoundsTest, EveryNumberOutOfBoundsIsNamed) {
  struct {
    const char* key;
    void (*set)(BusOptions&, int64_t);
  } const all[] = {
      {"settings.depth",
       [](BusOptions& o, int64_t value) { o.settings.depth = value; }},
      {"settings.window",
       [](BusOptions& o, int64_t value) { o.settings.window = value; }},
      {"settings.publish_timeout",
       [](BusOptions& o, int64_t value) {
         o.settings.publish_timeout = absl::Nanoseconds(value);
       }},
      {"settings.retain",
       [](BusOptions& o, int64_t value) {
         o.settings.retain = absl::Nanoseconds(value);
       }},
      {"settings.spin",
       [](BusOptions& o, int64_t value) {
         o.settings.spin = absl::Nanoseconds(value);
       }},
      {"limits.handshake",
       [](BusOptions& o, int64_t value) {
         o.limits.handshake = absl::Nanoseconds(value);
       }},
      {"limits.frame_bytes_max",
       [](BusOptions& o, int64_t value) { o.limits.frame_bytes_max = value; }},
      {"limits.links",
       [](BusOptions& o, int64_t value) { o.limits.links = value; }},
      {"limits.reconnect_min",
       [](BusOptions& o, int64_t value) {
         o.limits.reconnect_min = absl::Nanoseconds(value);
       }},
      {"limits.reconnect_max",
       [](BusOptions& o, int64_t value) {
         o.limits.reconnect_max = absl::Nanoseconds(value);
       }},
      {"limits.keepalive",
       [](BusOptions& o, int64_t value) {
         o.limits.keepalive = absl::Nanoseconds(value);
       }},
      {"limits.redeliver_max",
       [](BusOptions& o, int64_t value) { o.limits.redeliver_max = value; }},
  };
  for (const auto& one : all) {
    const std::string key = one.key;
    const SettingBounds& bounds = BoundsOf(key.substr(key.find('.') + 1));
    for (const int64_t value : {bounds.min - 1, bounds.max + 1}) {
      BusOptions options;
      one.set(options, value);
      EXPECT_EQ(FaultOf(options),
                "BusOptions: " + key + " is " +
                    FormatSetting(bounds.unit, value) + "; " +
                    FormatSetting(bounds.unit, bounds.min) + " to " +
                    FormatSetting(bounds.unit, bounds.max) + " are allowed");
    }
  }
}

TEST(OptionBoundsTest, ShortestTimeToReconnectIsNotBeyondTheLongest) {
  BusOptions options;
  options.limits.reconnect_min = absl::Milliseconds(20);
  options.limits.reconnect_max = absl::Milliseconds(20);
  EXPECT_EQ(FaultOf(options), "");
  options.limits.reconnect_min = absl::Milliseconds(21);
  EXPECT_EQ(FaultOf(options),
            "BusOptions: limits.reconnect_min 21ms is longer than "
            "limits.reconnect_max 20ms");
}

TEST(OptionBoundsTest, LaneIsAtLeastARing) {
  BusOptions options;
  options.limits.frame_bytes_max = 2 << 10;
  options.settings.lane_bytes = 4 << 10;
  EXPECT_EQ(FaultOf(options), "");
  --options.settings.lane_bytes;
  EXPECT_EQ(FaultOf(options),
            "BusOptions: settings.lane_bytes is 4095; 4KiB to 1GiB are "
            "allowed");
}

TEST(OptionBoundsTest, UidsAreUidsAndNotTooMany) {
  BusOptions options;
  options.allow_uids = {0, 0xFFFFFFFE};
  EXPECT_EQ(FaultOf(options), "");
  for (const int64_t uid : {int64_t{-1}, int64_t{0xFFFFFFFF}}) {
    options.allow_uids = {0, uid};
    EXPECT_EQ(FaultOf(options), "BusOptions: allow_uids has " +
                                    std::to_string(uid) +
                                    ", which is no uid; 0 to 4294967294");
  }
  options.allow_uids.assign(256, 7);
  EXPECT_EQ(FaultOf(options), "");
  options.allow_uids.push_back(7);
  EXPECT_EQ(FaultOf(options),
            "BusOptions: allow_uids has 257 entries; at most 256");
}

TEST(OptionBoundsTest, PublisherIsNotMadeOfSuchATimeout) {
  auto bus = MessageBus::Create();
  ASSERT_TRUE(bus.ok()) << bus.status();
  PublisherOptions options;
  for (const absl::Duration timeout : {absl::ZeroDuration(), absl::Hours(1)}) {
    options.publish_timeout = timeout;
    EXPECT_EQ((*bus)->RawPublisher(RawMessageType("t"), "", options).status(),
              absl::OkStatus());
  }
  options.publish_timeout = absl::Milliseconds(-1);
  EXPECT_EQ((*bus)->RawPublisher(RawMessageType("t"), "", options).status(),
            absl::InvalidArgumentError("PublisherOptions: publish_timeout is "
                                       "-1ms; 0 to 1h are allowed"));
  options.publish_timeout = absl::InfiniteDuration();
  EXPECT_EQ(
      (*bus)->RawPublisher(RawMessageType("t"), "", options).status().code(),
      absl::StatusCode::kInvalidArgument);
}

TEST(OptionBoundsTest, BusIsNotMadeOfSuchOptions) {
  BusOptions options;
  options.settings.window = -1;
  EXPECT_EQ(MessageBus::Create(options).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// An option that has no effect is an error, not a surprise.
TEST(OptionBoundsTest, WhatATopologySaysIsNotGivenBesideOne) {
  const auto fault = [](const BusOptions& options) {
    return std::string(CheckOptionsBesideTopology(options, "t.toml").message());
  };
  EXPECT_EQ(fault(BusOptions()), "");
  struct {
    const char* option;
    void (*set)(BusOptions&);
  } const all[] = {
      {"settings.depth", [](BusOptions& o) { o.settings.depth = 7; }},
      {"settings.overflow",
       [](BusOptions& o) { o.settings.overflow = Overflow::kLatest; }},
      {"settings.wait",
       [](BusOptions& o) { o.settings.wait = WaitMode::kSpin; }},
      {"limits.links", [](BusOptions& o) { o.limits.links = 1; }},
      {"schema", [](BusOptions& o) { o.schema = SchemaPolicy::kCompatible; }},
      {"allow_uids", [](BusOptions& o) { o.allow_uids = {7}; }},
      {"tls", [](BusOptions& o) { o.tls.ca = "ca.pem"; }},
      {"tls", [](BusOptions& o) { o.tls.key = "k.pem"; }},
      {"insecure", [](BusOptions& o) { o.insecure = true; }},
      {"allow_anonymous", [](BusOptions& o) { o.allow_anonymous = true; }},
  };
  for (const auto& given : all) {
    BusOptions options;
    given.set(options);
    EXPECT_EQ(fault(options),
              absl::StrCat("BusOptions: ", given.option,
                           " is for a bus without a topology, and has no "
                           "effect with one: say it in t.toml"));
  }
  BusOptions of_both;
  of_both.poll = PollMode::kCaller;
  of_both.wait = WaitMode::kBlock;
  of_both.delivers_locally = false;
  EXPECT_EQ(fault(of_both), "");
  BusOptions lanes;
  lanes.settings.lane_bytes = 1 << 20;
  const auto bus = MessageBus::FromTopology("/nowhere/t.toml", "s", lanes);
  EXPECT_EQ(std::string(bus.status().message()),
            "BusOptions: settings.lane_bytes is for a bus without a topology, "
            "and has no effect with one: say it in /nowhere/t.toml");
}

}  // namespace
}  // namespace mycelium
