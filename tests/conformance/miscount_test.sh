#!/bin/bash
# Suites in a build that forgets some counts, of the counter that the
# environment names, have to fail on every transport and across processes, and
# to name the ledger.
set -euo pipefail

delivery=$1 lifetime=$2 process=$3
# Do not write the outer test's own report, and run all shards.
unset XML_OUTPUT_FILE TEST_TOTAL_SHARDS TEST_SHARD_INDEX TEST_SHARD_STATUS_FILE

# expect_noticed COUNTER SUITE TEST FILE TEXT: the test fails in FILE alone, and
# says TEXT.
expect_noticed() {
  local counter=$1 suite=$2 test=$3 file=$4 text=$5 output
  if ! output=$(env -u MYCELIUM_MISCOUNT "$suite" "--gtest_filter=$test" 2>&1)
  then
    echo "FAIL: $test fails where nothing is miscounted:" >&2
    echo "$output" >&2
    exit 1
  fi
  if output=$(MYCELIUM_MISCOUNT=$counter "$suite" "--gtest_filter=$test" 2>&1)
  then
    echo "FAIL: $test: a wrong count of $counter is not noticed:" >&2
    echo "$output" >&2
    exit 1
  fi
  if ! grep -qF "$text" <<<"$output" ||
    grep "Failure" <<<"$output" | grep -qv "$file"; then
    echo "FAIL: $test: $counter: failed, but not by the ledger alone:" >&2
    echo "$output" >&2
    exit 1
  fi
  echo "$test: a wrong count of $counter is noticed"
}

for transport in inproc shm unix grpc; do
  # 500 notes less every 64th, and only the count is wrong.
  law="*/DeliveryTest.PullQueuedAndInlineGetAllInOrder/$transport"
  expect_noticed delivered "$delivery" "$law" conformance_fixture.cc \
    "accepted 500, delivered 493"
  expect_noticed accepted "$delivery" "$law" conformance_fixture.cc \
    "accepted 493, delivered 500"
  law="*/LifetimeTest.HandlerThatUnsubscribesItselfGetsNothingMore/$transport"
  expect_noticed dropped "$lifetime" "$law" conformance_fixture.cc \
    "flow.ledger.Balances()"
done
law="ProcessTest.PublisherThatStartsFirstWaitsForItsSubscriber"
expect_noticed delivered "$process" "$law" process_fixture.h got.delivered
expect_noticed accepted "$process" "$law" process_fixture.h sent.accepted
law="ProcessTest.WhatAKilledSubscriberLeavesUnhandledIsCountedAsDropped"
expect_noticed dropped "$process" "$law" process_test.cc sent.dropped
