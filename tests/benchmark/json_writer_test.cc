#include "tests/benchmark/json_writer.h"

#include <limits>
#include <optional>

#include "gtest/gtest.h"

namespace mycelium::bench {
namespace {

TEST(JsonWriterTest, CommasStandBetweenElementsOnly) {
  JsonWriter json;
  json.BeginObject();
  json.Key("rows");
  json.BeginArray();
  json.Number(int64_t{1});
  json.BeginObject();
  json.EndObject();
  json.Null();
  json.EndArray();
  json.Key("last");
  json.String("x");
  json.EndObject();
  EXPECT_EQ(json.text(), R"({"rows": [1, {}, null], "last": "x"})");
}

TEST(JsonWriterTest, QuotesBackslashesAndControlBytesAreEscaped) {
  JsonWriter json;
  json.String("a\"b\\c\n\x01");
  EXPECT_EQ(json.text(), "\"a\\\"b\\\\c\\u000a\\u0001\"");
}

TEST(JsonWriterTest, KeysAreEscapedToo) {
  JsonWriter json;
  json.BeginObject();
  json.Key("a\"b");
  json.Null();
  json.EndObject();
  EXPECT_EQ(json.text(), "{\"a\\\"b\": null}");
}

TEST(JsonWriterTest, Utf8PassesUnchanged) {
  JsonWriter json;
  json.String("µs");
  EXPECT_EQ(json.text(), "\"µs\"");
}

TEST(JsonWriterTest, WhatIsNoNumberIsNull) {
  JsonWriter json;
  json.BeginArray();
  json.Number(std::numeric_limits<double>::quiet_NaN());
  json.Number(std::numeric_limits<double>::infinity());
  json.Number(std::optional<double>());
  json.Number(2.5);
  json.EndArray();
  EXPECT_EQ(json.text(), "[null, null, null, 2.5]");
}

}  // namespace
}  // namespace mycelium::bench
