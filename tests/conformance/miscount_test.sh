#!/bin/bash
# The suite of delivery, built so that one in 64 deliveries is not counted, has
# to fail on every transport, and to say that it is the ledger.
set -euo pipefail

suite=$1
# Not the outer test's own report and shards.
unset XML_OUTPUT_FILE TEST_TOTAL_SHARDS TEST_SHARD_INDEX TEST_SHARD_STATUS_FILE

law=DeliveryTest.PullQueuedAndInlineGetAllInOrder
for transport in inproc unix; do
  if output=$("$suite" "--gtest_filter=*/$law/$transport" 2>&1); then
    echo "FAIL: $transport: a wrong count is not noticed:" >&2
    echo "$output" >&2
    exit 1
  fi
  # 500 notes less every 64th, and only the count is wrong.
  if ! grep -q "accepted 500, delivered 493" <<<"$output" ||
    grep "Failure" <<<"$output" | grep -qv "conformance_fixture.cc"; then
    echo "FAIL: $transport: failed, but not by the ledger alone:" >&2
    echo "$output" >&2
    exit 1
  fi
  echo "$transport: a wrong count is noticed"
done
