#include "mycelium/topology/setting_bounds.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "mycelium/topology/topology_fixture.h"

namespace mycelium {
namespace {

TEST(SettingBoundsTest, SizesAreIntegersWithAUnit) {
  EXPECT_EQ(ParseBytes("4096").value(), 4096);
  EXPECT_EQ(ParseBytes("64KiB").value(), 65536);
  EXPECT_EQ(ParseBytes("4 MiB").value(), 4 << 20);
  EXPECT_EQ(ParseBytes("1GiB").value(), 1 << 30);
  for (const char* bad :
       {"", "KiB", "-1", "+1", " 1", "1 ", "1KB", "1.5MiB", "0x10", "1kib",
        "9223372036854775808", "9007199254740992KiB"}) {
    EXPECT_EQ(ParseBytes(bad).status().code(),
              absl::StatusCode::kInvalidArgument)
        << bad;
  }
}

TEST(SettingBoundsTest, DurationsSaturateInsteadOfWrapping) {
  EXPECT_EQ(ParseDurationNs("1.5s").value(), 1'500'000'000);
  EXPECT_EQ(ParseDurationNs("inf").value(), INT64_MAX);
  EXPECT_EQ(ParseDurationNs("999999999h").value(), INT64_MAX);
  EXPECT_FALSE(ParseDurationNs("5").ok());
  EXPECT_FALSE(ParseDurationNs("").ok());
}

bool IsOfNode(const SettingBounds& bounds) {
  for (const char* key :
       {"handshake", "frame_bytes_max", "links", "reconnect_min",
        "reconnect_max", "keepalive", "redeliver_max"}) {
    if (bounds.key == key) return true;
  }
  return false;
}

// A file with one setting, written as an author would.
std::string FileWith(const SettingBounds& bounds, int64_t value) {
  std::string text = FormatSetting(bounds.unit, value);
  if (bounds.unit != SettingUnit::kCount) text = absl::StrCat("\"", text, "\"");
  std::string file =
      absl::StrCat("[[nodes]]\nname = \"a\"\n",
                   IsOfNode(bounds) ? "[limits]\n" : "[defaults]\n", bounds.key,
                   " = ", text, "\n");
  // The two ends of the backoff bound each other too.
  if (bounds.key == "reconnect_min") file += "reconnect_max = \"1h\"\n";
  if (bounds.key == "reconnect_max") file += "reconnect_min = \"1ms\"\n";
  // So do a lane and the largest frame.
  if (bounds.key == "lane_bytes") file += "[limits]\nframe_bytes_max = 1024\n";
  if (bounds.key == "frame_bytes_max") {
    file += "[defaults]\nlane_bytes = \"1GiB\"\n";
  }
  return file;
}

TEST(SettingBoundsTest, EachSettingIsReadAtItsBoundsAndRefusedOneBeyond) {
  for (const SettingBounds& bounds : AllSettingBounds()) {
    for (const int64_t inside : {bounds.min, bounds.max}) {
      const absl::Status status = ParseHere(FileWith(bounds, inside)).status();
      EXPECT_TRUE(status.ok()) << status;
    }
    for (const int64_t outside : {bounds.min - 1, bounds.max + 1}) {
      if (outside < 0 && bounds.unit == SettingUnit::kBytes) continue;
      const absl::Status status = ParseHere(FileWith(bounds, outside)).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_EQ(std::string(status.message()).substr(0, 9), "t.toml:4:")
          << status;
      EXPECT_NE(std::string(status.message()).find("is out of bounds; "),
                std::string::npos)
          << status;
    }
  }
}

TEST(SettingBoundsTest, BackoffThatShrinksIsRefused) {
  EXPECT_EQ(
      std::string(ParseHere("[[nodes]]\nname = \"a\"\n[limits]\n"
                            "reconnect_min = \"3s\"\n")
                      .status()
                      .message()),
      "t.toml:4:17: [limits]: reconnect_min 3s is more than reconnect_max 2s");
}

}  // namespace
}  // namespace mycelium
