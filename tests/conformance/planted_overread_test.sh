#!/bin/bash
# The proof that guard pages catch a reader that reads outside a segment:
# SIGSEGV kills such a reader, and a reader that does not do so passes.
#
#   planted_overread_test.sh HOSTILE_PUBLISHER_TEST_WITH_PLANTED_BUGS
set -euo pipefail

program=$1
filter=--gtest_filter=HostilePublisherTest.FrameAtTheVeryEndOfTheMemoryIsDelivered

MYCELIUM_PLANTED_BUG=0 "$program" "$filter"
status=0
MYCELIUM_PLANTED_BUG=6 "$program" "$filter" || status=$?
if [[ $status -ne 139 ]]; then
  echo "FAIL: the planted over-read ends with $status, not by SIGSEGV" >&2
  exit 1
fi
echo "the planted over-read is caught"
