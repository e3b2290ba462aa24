#!/bin/bash
# Where the command looks for a file and for nodes, and what it says when nobody
# is there.
set -euo pipefail

command=$PWD/$1
mkdir "$TEST_TMPDIR/typed_here"
cd "$TEST_TMPDIR"
export XDG_RUNTIME_DIR=/nowhere  # A socket has a short path.
# As `bazel run` does, which starts a program elsewhere.
export BUILD_WORKING_DIRECTORY=$TEST_TMPDIR/typed_here
printf '[[nodes]]\nname = "%s"\n' a b >typed_here/pair.toml
printf '[[nodes]]\nname = "%s"\n' alone >typed_here/alone.toml

expect() {
  local exit_status=$1 part=$2
  shift 2
  local output status=0
  output=$("$command" "$@" 2>&1) || status=$?
  if [[ $status -ne $exit_status || $output != *"$part"* ]]; then
    echo "FAIL: $*: exit status $status, expected $exit_status, and said:" >&2
    echo "$output" >&2
    exit 1
  fi
}

expect 0 "pair.toml: ok: 2 nodes" topology check pair.toml
expect 1 "/nowhere/mycelium/a.sock (socket_dir is not given, so it depends on the user" \
  status --topology pair.toml
expect 1 "no node of this file could be asked on this host: alone" \
  status --topology alone.toml
BUILD_WORKING_DIRECTORY=$TEST_TMPDIR/gone
expect 1 "BUILD_WORKING_DIRECTORY $TEST_TMPDIR/gone: No such file or directory" \
  topology check pair.toml
