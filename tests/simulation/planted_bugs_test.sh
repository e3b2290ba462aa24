#!/bin/bash
# Each bug that is planted in the code has to be found within 1000 seeds; the
# test prints the seed.
set -euo pipefail

simulate=$1
unset XML_OUTPUT_FILE

failed=0
for bug in 1 2 3 4 5 7 8 9 10 11; do
  if output=$("$simulate" "--planted_bug=$bug" --seeds=1-1000 --stop 2>&1); then
    echo "FAIL: planted bug $bug is not found:" >&2
    tail -n 30 <<<"$output" >&2
    failed=1
  elif ! found=$(grep -m 1 -A 1 "^seed .* FAILED" <<<"$output"); then
    echo "FAIL: planted bug $bug: no law was broken, but:" >&2
    tail -n 30 <<<"$output" >&2
    failed=1
  else
    echo "planted bug $bug: ${found/,*$'\n'/: }"
  fi
done
# A bug that makes nodes stand still is noticed while faults go on, by either
# law.
stands=$("$simulate" --planted_bug=4 --seeds=1-60) || true
for law in "in flight, and none moved in" " reaches [0-9]* of [0-9]* for "; do
  grep -q "stall: .*$law" <<<"$stands" || {
    echo "FAIL: planted bug 4 breaks no law that says: stall: ...$law" >&2
    failed=1
  }
done
# With no bug switched on, the same program finds nothing.
"$simulate" --planted_bug=0 --seeds=1-20 >/dev/null || {
  echo "FAIL: the build with planted bugs fails without any" >&2
  failed=1
}
exit "$failed"
