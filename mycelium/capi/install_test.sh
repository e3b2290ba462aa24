#!/bin/bash
# A C program is compiled outside of Bazel against what was installed, and runs.
# The program is the one of docs/c_abi.md.
set -euo pipefail

fail() {
  echo "FAIL: $*" >&2
  exit 1
}

prefix=$TEST_TMPDIR/prefix
mycelium/capi/install "$prefix"
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig

read -ra cflags <<<"$(pkg-config --cflags mycelium)"
read -ra libs <<<"$(pkg-config --libs mycelium)"
gcc -std=c11 -Wall -Wextra -pedantic -Werror "${cflags[@]}" \
  mycelium/capi/example.c -o "$TEST_TMPDIR/example" \
  "${libs[@]}" "-Wl,-rpath,$prefix/lib"

output=$("$TEST_TMPDIR/example")
echo "$output"
grep -q "^1 reading: 81.5$" <<<"$output"
# The version of pkg-config is the one of the library.
grep -q "^mycelium $(pkg-config --modversion mycelium)$" <<<"$output"

# The header alone is C++ too.
g++ -std=c++17 -Wall -Wextra -pedantic -Werror "${cflags[@]}" -fsyntax-only \
  -x c++ "$prefix/include/mycelium/capi/mycelium.h"

# As `bazel run` of another workspace starts it, and as root does from anywhere:
# beside its runfiles, with a RUNFILES_DIR of another program or none.
built=$TEST_TMPDIR/bin/install
mkdir -p "$built.runfiles/mycelium/mycelium/capi" "$built.runfiles/consumer"
cp -L mycelium/capi/install "$built"
cp -L mycelium/capi/mycelium*.h mycelium/capi/mycelium.pc \
  "$built.runfiles/mycelium/mycelium/capi"
ln -s "$PWD/mycelium/libmycelium.so" "$built.runfiles/mycelium/mycelium"
(
  cd "$built.runfiles/consumer"
  BUILD_WORKING_DIRECTORY=$TEST_TMPDIR RUNFILES_DIR=/nowhere "$built" other
)
diff -r "$prefix" "$TEST_TMPDIR/other"
(cd / && env -u RUNFILES_DIR "$built" "$TEST_TMPDIR/from_root")
diff -r "$prefix" "$TEST_TMPDIR/from_root"
(cd "$TEST_TMPDIR" && env -u RUNFILES_DIR bin/install relative)
diff -r "$prefix" "$TEST_TMPDIR/relative"

# All or nothing.
rm "$built.runfiles/mycelium/mycelium/libmycelium.so"
if "$built" "$TEST_TMPDIR/partial" 2>"$TEST_TMPDIR/errors"; then
  fail "installed without the library"
fi
grep -q "libmycelium.so cannot be read" "$TEST_TMPDIR/errors"
[[ -z $(find "$TEST_TMPDIR/partial" -type f) ]] ||
  fail "a part was installed"
