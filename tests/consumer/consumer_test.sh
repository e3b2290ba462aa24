#!/bin/bash
# Builds and runs the services of tests/consumer/workspace. It has a Bazel
# server and an output base of its own, so that it does not wait for the Bazel
# that runs this test. It keeps its outputs beside the outer build's: a second
# run is quick.
set -euo pipefail

fail() {
  echo "FAIL: $*" >&2
  exit 1
}

# The source tree itself: runfiles are links to it.
workspace_file=$(readlink -f "$TEST_SRCDIR/mycelium/WORKSPACE")
consumer=$(dirname "$workspace_file")/tests/consumer/workspace

state=$TEST_TMPDIR
if [[ $state == */execroot/* ]]; then
  state=${state%%/execroot/*}/consumer_test
fi
mkdir -p "$state"

nested_bazel() (
  cd "$consumer"
  # With TEST_TMPDIR set, Bazel would put its outputs there.
  env -u TEST_TMPDIR bazel --output_user_root="$state/user_root" \
    --output_base="$state/output_base" --max_idle_secs=60 "$@"
)
trap 'nested_bazel shutdown' EXIT

# Leaves no links in the source tree.
nested_bazel build --symlink_prefix=/ --jobs=2 //... ||
  fail "the consumer does not build"
bin=$(nested_bazel info --symlink_prefix=/ bazel-bin)
[[ $(<"$bin/googletest_origin.txt") == "the consumer" ]] ||
  fail "a repository that the consumer declared was declared again"

"$bin/orders_test" || fail "a test of the consumer does not pass"

# Runs both services until they have exchanged their messages, as a user does:
# without Bazel, and from any folder. Prints the outputs of both, as one text.
cd /
exchange() {
  local cc_service=$1 py_service=$2 folder status=0
  # Short enough for sockets; Bazel's own folder is not.
  folder=$(mktemp -d /tmp/myc-XXXXXX)
  export CONSUMER_SOCKET_DIR=$folder
  "$py_service" "$topology" >"$folder/py" 2>&1 &
  local py_pid=$!
  "$cc_service" "$topology" >"$folder/cc" 2>&1 || status=$?
  wait "$py_pid" || status=$?
  cat "$folder/cc" "$folder/py"
  rm -rf "$folder"
  return "$status"
}

expect_exchange() {
  local output version_and_schema
  output=$(exchange "$@") || fail "$* did not exchange messages: $output"
  echo "$*:"$'\n'"$output"
  version_and_schema=$(head -n 1 <<<"$output")
  [[ $version_and_schema =~ ^mycelium\ [0-9.]+,\ schema\ [0-9a-f]{64}$ ]] ||
    fail "unexpected first line"
  # The same version and the same schema digest on both sides.
  [[ $output == "$version_and_schema
fill of MYC at 10.5
fill of HYP at 11.5
fill of SPO at 12.5
$version_and_schema
order of MYC, SIDE_BUY, with a time
order of HYP, SIDE_BUY, with a time
order of SPO, SIDE_BUY, with a time" ]] || fail "unexpected output"
}

topology=$consumer/topology.toml
expect_exchange "$bin/service" "$bin/py_service"
expect_exchange "$bin/shared_service" "$bin/py_service"

# As in a container image, where no other file of the build is near.
deployed=$TEST_TMPDIR/deployed
rm -rf "$deployed"
mkdir "$deployed"
cp -rL "$bin/py_service" "$bin/py_service.runfiles" "$deployed"
expect_exchange "$bin/service" "$deployed/py_service"

for program in service shared_service; do
  needed=$(readelf --dynamic "$bin/$program" | grep -c 'libmycelium\.so' || true)
  expected=0
  if [[ $program == shared_* ]]; then expected=1; fi
  [[ $needed -eq $expected ]] ||
    fail "$program: needs libmycelium.so $needed times, expected $expected"
done

# The generated code of mycelium.v1 must be in the library, and in no file that
# uses the library. A file that cannot be read shows neither.
holds_generated_code() {
  local symbols
  symbols=$(nm --defined-only "$@") || fail "nm $* does not work"
  [[ -n $symbols ]] || fail "nm $* lists nothing"
  grep -q descriptor_table_proto_2fmycelium_2fv1_ <<<"$symbols"
}
runfiles=$deployed/py_service.runfiles/mycelium
holds_generated_code --dynamic "$runfiles/mycelium/libmycelium.so" ||
  fail "libmycelium.so has no generated code"
holds_generated_code "$bin/service" ||
  fail "a program on the archives has no generated code"
for user in "$bin/shared_service" "$runfiles/python/extension/_mycelium.so"; do
  if holds_generated_code "$user"; then
    fail "$user has a second copy of the generated code"
  fi
done

# The C interface, as a user installs it from another workspace.
nested_bazel run --symlink_prefix=/ --jobs=2 @mycelium//mycelium/capi:install \
  -- "$TEST_TMPDIR/prefix" || fail "the C interface is not installed"
[[ -r $TEST_TMPDIR/prefix/include/mycelium/capi/mycelium.h ]] ||
  fail "the C interface has no header"

# A monorepo that builds one of the libraries below Mycelium from source is told
# that it cannot use :shared.
own=$TEST_TMPDIR/boringssl
mkdir -p "$own"
echo 'workspace(name = "boringssl")' >"$own/WORKSPACE"
echo 'int unused;' >"$own/unused.cc"
cat >"$own/BUILD" <<'END'
[
    cc_library(
        name = name,
        srcs = ["unused.cc"],
        visibility = ["//visibility:public"],
    )
    for name in ["crypto", "ssl"]
]
END
analyse() {
  nested_bazel build --symlink_prefix=/ --nobuild \
    "--override_repository=boringssl=$own" "$@" 2>&1
}
if output=$(analyse @mycelium//mycelium:shared); then
  fail "a second copy of a library was accepted"
fi
[[ $output == *"@boringssl: built from source"* ]] ||
  fail "another error: $output"
output=$(analyse @mycelium//mycelium) || fail "$output"
