#include "mycelium/base/json_writer.h"

#include <limits>
#include <optional>

#include "gtest/gtest.h"

namespace mycelium {
namespace {

TEST(JsonWriterTest, CommasStandBetweenElementsOnly) {
  JsonWriter json(JsonWriter::Layout::kOneLine);
  json.Begin('{');
  json.Name("rows");
  json.Begin('[');
  json.Number(int64_t{1});
  json.Begin('{');
  json.End('}');
  json.Null();
  json.End(']');
  json.Name("last");
  json.String("x");
  json.End('}');
  EXPECT_EQ(json.text(), R"({"rows": [1, {}, null], "last": "x"})");
}

TEST(JsonWriterTest, QuotesBackslashesAndControlBytesAreEscaped) {
  JsonWriter json(JsonWriter::Layout::kOneLine);
  json.String("a\"b\\c\n\x01");
  EXPECT_EQ(json.text(), "\"a\\\"b\\\\c\\u000a\\u0001\"");
}

TEST(JsonWriterTest, KeysAreEscapedToo) {
  JsonWriter json(JsonWriter::Layout::kOneLine);
  json.Begin('{');
  json.Name("a\"b");
  json.Null();
  json.End('}');
  EXPECT_EQ(json.text(), "{\"a\\\"b\": null}");
}

TEST(JsonWriterTest, Utf8PassesUnchanged) {
  JsonWriter json(JsonWriter::Layout::kOneLine);
  json.String("µs");
  EXPECT_EQ(json.text(), "\"µs\"");
}

TEST(JsonWriterTest, BytesOfNoCharacterAreShown) {
  JsonWriter json(JsonWriter::Layout::kOneLine);
  json.Begin('{').Member("\xc3", "caf\xe9").End('}');
  EXPECT_EQ(json.text(), "{\"\\\\xc3\": \"caf\\\\xe9\"}");
}

TEST(JsonWriterTest, WhatIsNoNumberIsNull) {
  JsonWriter json(JsonWriter::Layout::kOneLine);
  json.Begin('[');
  json.Number(std::numeric_limits<double>::quiet_NaN());
  json.Number(std::numeric_limits<double>::infinity());
  json.Number(std::optional<double>());
  json.Number(2.5);
  json.End(']');
  EXPECT_EQ(json.text(), "[null, null, null, 2.5]");
}

}  // namespace
}  // namespace mycelium
