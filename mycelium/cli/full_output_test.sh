#!/bin/bash
# What cannot be written is not taken for said: a full disk is an exit status.
set -euo pipefail

status=0
output=$("$1" --help 2>&1 >/dev/full) || status=$?
if [[ $status -ne 1 || $output != "mycelium: standard output: No space left on device" ]]
then
  echo "FAIL: exit status $status, expected 1, and said: $output" >&2
  exit 1
fi
"$1" --help >/dev/null
