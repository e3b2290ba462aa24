#!/bin/bash
# The commands of docs/schema.md, run.
set -euo pipefail
unset BUILD_WORKING_DIRECTORY
tool=$PWD/$TOOL
protoc=$PWD/$PROTOC
mkdir "$TEST_TMPDIR/bin"
ln -s "$tool" "$TEST_TMPDIR/bin/schema_digest_tool"
ln -s "$protoc" "$TEST_TMPDIR/bin/protoc"
PATH=$TEST_TMPDIR/bin:$PATH
cp "$QUOTE" "$TEST_TMPDIR/quote.proto"
cp "$QUOTE_TEXT" "$TEST_TMPDIR/expected.txt"
cd "$TEST_TMPDIR"
sed 's/double price/int64 price/' quote.proto > theirs.proto
protoc --include_imports --descriptor_set_out=theirs.set theirs.proto
schema_digest_tool --descriptor_sets=theirs.set --messages=market.Quote \
    --text > theirs.txt

protoc --include_imports --descriptor_set_out=quote.set quote.proto
schema_digest_tool --descriptor_sets=quote.set
schema_digest_tool --descriptor_sets=quote.set --messages=market.Quote \
    --text > ours.txt
diff ours.txt theirs.txt > changes.txt && exit 1

cmp ours.txt expected.txt
diff - changes.txt <<'CHANGES'
10c10
<   4 price optional double presence=implicit
---
>   4 price optional int64 presence=implicit
CHANGES
# `bazel run` starts it elsewhere, and says where it was typed.
(cd / && BUILD_WORKING_DIRECTORY=$TEST_TMPDIR schema_digest_tool \
    --descriptor_sets=quote.set --messages=market.Quote --text) |
  cmp - ours.txt
if BUILD_WORKING_DIRECTORY=$TEST_TMPDIR/gone schema_digest_tool \
    --descriptor_sets=quote.set 2> error.txt; then exit 1; fi
grep "schema_digest_tool: BUILD_WORKING_DIRECTORY $TEST_TMPDIR/gone: No such" \
  error.txt

digest=$(sha256sum < ours.txt | cut -d' ' -f1)
schema_digest_tool --descriptor_sets=quote.set | grep -x "market.Quote $digest"

# What cannot be done is an error, and says what it is.
if schema_digest_tool --descriptor_sets=quote.set --messages=market.Nothing \
    2> error.txt; then exit 1; fi
grep -x "schema_digest_tool: no message market.Nothing" error.txt
if schema_digest_tool --descriptor_sets=quote.proto 2> error.txt; then
  exit 1
fi
grep "quote.proto: not a FileDescriptorSet" error.txt
if schema_digest_tool --descriptor_sets=absent.set 2> error.txt; then
  exit 1
fi
grep "no file absent.set" error.txt
if schema_digest_tool --descriptor_sets="$TEST_TMPDIR/bin" 2> error.txt; then
  exit 1
fi
grep -x "schema_digest_tool: $TEST_TMPDIR/bin: cannot be read" error.txt
# A file that comes along again, with its comments, is no other one.
protoc --include_imports --include_source_info --descriptor_set_out=told.set \
    quote.proto
schema_digest_tool --descriptor_sets=quote.set,told.set > told.txt
schema_digest_tool --descriptor_sets=quote.set | cmp - told.txt
# Nor is one version of a file taken for another one.
protoc --include_imports --descriptor_set_out=other.set \
    --proto_path=quote.proto=theirs.proto quote.proto
if schema_digest_tool --descriptor_sets=quote.set,other.set 2> error.txt; then
  exit 1
fi
grep -x "schema_digest_tool: other.set: has another quote.proto than a set \
before it" error.txt
if schema_digest_tool --descriptor_sets=quote.set other.set 2> error.txt; then
  exit 1
fi
grep 'schema_digest_tool: "other.set": only flags are expected' error.txt
if schema_digest_tool --descriptor_sets=quote.set > /dev/full 2> error.txt; then
  exit 1
fi
grep -x "schema_digest_tool: standard output: not written" error.txt
