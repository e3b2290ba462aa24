#!/bin/bash
# A C program is compiled outside of Bazel against what was installed, and runs.
# The program is the one of docs/c_abi.md.
set -euo pipefail

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
