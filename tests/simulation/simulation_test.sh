#!/bin/bash
# A thousand seeds break no law, and each half of them has met every kind of
# fault. Two processes see the same.
set -euo pipefail

simulate=$1
"$simulate" --seeds=1-500 &
first_half=$!
"$simulate" --seeds=501-1000
wait "$first_half"

# Addresses, process and clock differ; the runs do not.
for run in one two; do
  "$simulate" --seeds=1001-1020 --summaries |
    grep -o "^seed .* trace [0-9a-f]*" >"$TEST_TMPDIR/$run"
done
if ! diff "$TEST_TMPDIR/one" "$TEST_TMPDIR/two"; then
  echo "FAIL: the same seed was another run in another process" >&2
  exit 1
fi
