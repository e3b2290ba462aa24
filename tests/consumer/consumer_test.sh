#!/bin/bash
# Builds and runs the services of tests/consumer/workspace, with a Bazel server
# and an output base of its own so that the one that runs this test is not
# waited for. What it built is kept beside the outer build's outputs: a second
# run is quick.
set -euo pipefail

fail() {
  echo "FAIL: $*" >&2
  exit 1
}

# In the source tree: runfiles are links to it.
workspace_file=$(readlink -f "$TEST_SRCDIR/mycelium/WORKSPACE")
consumer=$(dirname "$workspace_file")/tests/consumer/workspace

state=$TEST_TMPDIR
if [[ $state == */execroot/* ]]; then
  state=${state%%/execroot/*}/consumer_test
fi
mkdir -p "$state"

nested_bazel() (
  cd "$consumer"
  # With TEST_TMPDIR set Bazel would take its outputs there.
  env -u TEST_TMPDIR bazel --output_user_root="$state/user_root" \
    --output_base="$state/output_base" --max_idle_secs=60 "$@"
)
trap 'nested_bazel shutdown' EXIT

# No links are left in the source tree.
nested_bazel build --symlink_prefix=/ --jobs=2 //... ||
  fail "the consumer does not build"
bin=$(nested_bazel info --symlink_prefix=/ bazel-bin)

expect_order() {
  local program=$1 output
  output=$("$program") || fail "$program exited with status $?"
  echo "$program: $output"
  [[ $output == "mycelium "[0-9]*", order of MYC with a time" ]] ||
    fail "$program: unexpected output"
}

# As a user's program runs: without Bazel, and from any folder.
cd /
for program in service shared_service py_service; do
  expect_order "$bin/$program"
done

# As in a container image: nothing else of the build is near.
deployed=$TEST_TMPDIR/deployed
rm -rf "$deployed"
mkdir "$deployed"
cp -rL "$bin/py_service" "$bin/py_service.runfiles" "$deployed"
expect_order "$deployed/py_service"

for program in service shared_service; do
  needed=$(readelf --dynamic "$bin/$program" | grep -c 'libmycelium\.so' || true)
  expected=0
  if [[ $program == shared_* ]]; then expected=1; fi
  [[ $needed -eq $expected ]] ||
    fail "$program: needs libmycelium.so $needed times, expected $expected"
done
