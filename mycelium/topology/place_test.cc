#include "mycelium/topology/place.h"

#include <gtest/gtest.h>

#include <string>

namespace mycelium {
namespace {

TEST(PlaceTest, HostsAreComparedWithoutCaseBracketsAndLastDot) {
  const LocalIdentity self{"Here", 0};
  EXPECT_EQ(PlaceOf("Far.Example.", self), "far.example");
  EXPECT_EQ(PlaceOf("[FE80::1]", self), "fe80::1");
  EXPECT_EQ(PlaceOf("here", self), "");
  EXPECT_EQ(PlaceOf("", self), "");
  EXPECT_EQ(PlaceOf("127.0.0.2", self), "127.0.0.2");
}

TEST(PlaceTest, MachineWithoutANameIsOnlyLocalhost) {
  EXPECT_EQ(PlaceOf("here", LocalIdentity{}), "here");
  EXPECT_EQ(PlaceOf("localhost", LocalIdentity{}), "");
}

TEST(PlaceTest, HostOfTheLargestSizeIsAHost) {
  EXPECT_TRUE(IsHost(std::string(253, 'a')));
  EXPECT_FALSE(IsHost(std::string(254, 'a')));
  for (const char* good : {"fe80::1%eth0", "[::1]", "::", "::ffff:10.0.0.1"}) {
    EXPECT_TRUE(IsHost(good)) << good;
  }
  for (const char* bad : {"", "[]", "a b", "a/b", "a@b", "${X}", "a\n", "a:1",
                          "10.0.0.1:1", "a:1:1:g", ":", "%", "%eth0", "[%1]"}) {
    EXPECT_FALSE(IsHost(bad)) << bad;
  }
}

TEST(PlaceTest, WildcardsMeanAllInterfaces) {
  for (const char* host : {"", "0.0.0.0", "0", "::", "[::]", "::0",
                           "0:0:0:0:0:0:0:0", "::ffff:0.0.0.0"}) {
    EXPECT_TRUE(IsWildcard(host)) << host;
  }
  for (const char* host : {"10.0.0.0", "0.0.0.1", "::1", "::ffff:10.0.0.1",
                           "localhost", "0x", "0.example"}) {
    EXPECT_FALSE(IsWildcard(host)) << host;
  }
}

TEST(PlaceTest, AddressIsSplitAtThePort) {
  std::string host;
  int port = 0;
  EXPECT_TRUE(SplitHostPort("[::1]:65535", &host, &port));
  EXPECT_EQ(host, "::1");
  EXPECT_EQ(port, 65535);
  EXPECT_TRUE(SplitHostPort(":1", &host, &port));
  EXPECT_EQ(host, "");
  for (const char* bad : {"", "a", "a:", "a:0", "a:65536", "a:-1", "a: 1",
                          "a:1x", "::1:5", "a b:1", "a:000001"}) {
    EXPECT_FALSE(SplitHostPort(bad, &host, &port)) << bad;
  }
}

TEST(PlaceTest, OnlyAddressesOfThisMachineAreLoopback) {
  for (const char* host :
       {"localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1", "[::1]",
        "::ffff:127.0.0.1", "[::FFFF:127.9.9.9]"}) {
    EXPECT_TRUE(IsLoopback(host)) << host;
  }
  for (const char* host :
       {"", "0.0.0.0", "::", "127.example.com", "10.0.0.1", "::ffff:10.0.0.1",
        "::ffff:localhost", "::fffe:127.0.0.1"}) {
    EXPECT_FALSE(IsLoopback(host)) << host;
  }
}

}  // namespace
}  // namespace mycelium
