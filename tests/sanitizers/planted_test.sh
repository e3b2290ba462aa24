#!/bin/bash
# A program with a planted fault must be reported, with the fault's name; the
# same program without it must pass. So a green run of a sanitizer says
# something.
#
#   planted_test.sh PROGRAM WORDS HARMLESS_ARGUMENT
set -euo pipefail

program=$1
words=$2
harmless=$3

if output=$("$program" 2>&1); then
  echo "FAIL: the fault is not noticed: $output" >&2
  exit 1
fi
if ! grep -q "$words" <<<"$output"; then
  echo "FAIL: ended, but not for \"$words\": $output" >&2
  exit 1
fi
if ! output=$("$program" "$harmless" 2>&1); then
  echo "FAIL: reported where there is nothing: $output" >&2
  exit 1
fi
echo "\"$words\" is reported"
