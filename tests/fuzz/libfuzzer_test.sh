#!/bin/bash
# Builds the fuzz targets with clang's libFuzzer and AddressSanitizer, and runs
# each for a few seconds from its corpus. Like tests/consumer it has a Bazel of
# its own whose outputs stay: another compiler is another configuration of the
# whole workspace.
set -euo pipefail

fail() {
  echo "FAIL: $*" >&2
  exit 1
}

targets=(handshake_fuzz record_fuzz frame_fuzz inbound_ring_fuzz
  link_message_fuzz)
seconds=5

# The source tree itself: runfiles are links to it.
root=$(dirname "$(readlink -f "$TEST_SRCDIR/mycelium/WORKSPACE")")

state=$TEST_TMPDIR
if [[ $state == */execroot/* ]]; then
  state=${state%%/execroot/*}/libfuzzer_test
fi
mkdir -p "$state"

nested_bazel() (
  cd "$root"
  # With TEST_TMPDIR set, Bazel would put its outputs there.
  env -u TEST_TMPDIR bazel --output_user_root="$state/user_root" \
    --output_base="$state/output_base" --max_idle_secs=60 "$@"
)
trap 'nested_bazel shutdown' EXIT

nested_bazel build --config=fuzz --symlink_prefix=/ --jobs=2 \
  "${targets[@]/#///tests/fuzz:}" || fail "the fuzz targets do not build"
bin=$(nested_bazel info --config=fuzz --symlink_prefix=/ bazel-bin)

for target in "${targets[@]}"; do
  # libFuzzer writes new inputs to the first folder, which is not in the source
  # tree.
  found=$(mktemp -d "$TEST_TMPDIR/$target-XXXXXX")
  if ! "$bin/tests/fuzz/$target" "$found" "$root/tests/fuzz/corpus/$target" \
    -max_total_time=$seconds -timeout=5 -max_len=8192 -print_final_stats=1 \
    -artifact_prefix="${TEST_UNDECLARED_OUTPUTS_DIR:-$TEST_TMPDIR}/$target-" \
    >"$TEST_TMPDIR/$target.log" 2>&1; then
    tail -n 60 "$TEST_TMPDIR/$target.log" >&2
    fail "$target found something"
  fi
  echo "$target: $(grep '^Done' "$TEST_TMPDIR/$target.log")"
done
