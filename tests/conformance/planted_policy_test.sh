#!/bin/bash
# The proof that the matrix checks the effect of each overflow policy: where the
# subscribers have another policy than the cell says, the matrix fails and says
# so.
#
#   planted_policy_test.sh MATRIX_TEST
set -euo pipefail

matrix=$1
# Do not write the outer test's own report, and run all shards.
unset XML_OUTPUT_FILE TEST_TOTAL_SHARDS TEST_SHARD_INDEX TEST_SHARD_STATUS_FILE

# run CELL: leaves what it printed in `output`.
run() {
  output=$("$matrix" "--gtest_filter=*/$1_1subscribers_1threads" 2>&1)
}

# expect_noticed CELL PLANTED TEXT: the matrix fails with TEXT; it is green
# without PLANTED.
expect_noticed() {
  local cell=$1 planted=$2 text=$3 output
  if MYCELIUM_PLANTED_OVERFLOW=$planted run "$cell"; then
    echo "FAIL: $cell: that the policy is $planted is not noticed:" >&2
    echo "$output" >&2
    exit 1
  fi
  if ! grep -qF -- "$text" <<<"$output"; then
    echo "FAIL: $cell: $planted: failed, but does not say \"$text\":" >&2
    echo "$output" >&2
    exit 1
  fi
  echo "$cell: $planted is noticed"
}

silent="does not show in what the publisher knows"
for policy in block fail drop_newest drop_oldest latest disconnect; do
  if ! run "${policy}_stopped" || ! grep -qF "[  PASSED  ] 1 test" <<<"$output"
  then
    echo "FAIL: ${policy}_stopped fails where nothing is planted:" >&2
    echo "$output" >&2
    exit 1
  fi
done
for event in slow stopped disconnected; do
  for policy in fail drop_newest drop_oldest latest disconnect; do
    expect_noticed "${policy}_$event" block "$silent"
  done
  expect_noticed "block_$event" fail "$silent"
done
for event in restarted_soon restarted_late; do
  for policy in drop_newest drop_oldest latest disconnect; do
    expect_noticed "${policy}_$event" block "$silent"
  done
done
expect_noticed fail_restarted_late block "$silent"
# Policies that differ only in which messages are kept.
expect_noticed drop_newest_stopped drop_oldest "ids.first_gap"
expect_noticed drop_oldest_stopped drop_newest "has_newest"
expect_noticed drop_oldest_stopped latest "unbroken + depth()"
expect_noticed latest_stopped drop_oldest "depth() + window()"
