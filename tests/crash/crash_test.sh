#!/bin/bash
# Runs the driver with these arguments, and checks that it says what it tried.
#
#   crash_test.sh PROGRAM WORDS ARGUMENT...
set -euo pipefail

program=$1
words=$2
shift 2

output=$("$program" "$@") || {
  echo "$output" >&2
  exit 1
}
echo "$output"
grep -q "$words" <<<"$output"
