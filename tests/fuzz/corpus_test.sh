#!/bin/bash
# The corpus is what the product sends today.
#
#   corpus_test.sh WRITE_CORPUS CORPUS_DIR
set -euo pipefail

"$1" "$TEST_TMPDIR/corpus" >/dev/null
# Bazel shows the files of the corpus as links.
if ! diff -r "$2" "$TEST_TMPDIR/corpus"; then
  echo "FAIL: write the corpus anew: docs/hacking.md" >&2
  exit 1
fi
