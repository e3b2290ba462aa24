#!/bin/bash
# Installs the C interface below a directory, as `make install` would:
#
#   bazel build -c opt //mycelium/capi:install
#   sudo bazel-bin/mycelium/capi/install PREFIX
#
# puts mycelium.h and what it includes into include/mycelium/capi, and
# lib/libmycelium.so and lib/pkgconfig/mycelium.pc there. The library needs the Debian packages
# libabsl20220623, libgrpc++1.51, libprotobuf32 and libssl3, which tools/setup
# installs along with their headers.
set -euo pipefail

if [[ $# -ne 1 ]]; then
  echo "usage: install PREFIX" >&2
  exit 2
fi
# `bazel run` starts programs in the runfiles of the workspace it was called in.
cd_to=${BUILD_WORKING_DIRECTORY:-$PWD}
prefix=$(cd "$cd_to" && mkdir -p "$1" && cd "$1" && pwd)

# Its own runfiles, or those of the program that has it in them. A caller may
# have a RUNFILES_DIR that means neither, so that comes second.
runfiles=$0.runfiles
if [[ ! -d $runfiles ]]; then runfiles=${RUNFILES_DIR:-$runfiles}; fi
cd "$runfiles/mycelium"

headers=(mycelium/capi/mycelium.h mycelium/capi/mycelium_*.h)
library=mycelium/libmycelium.so
pkg_config=mycelium/capi/mycelium.pc
# Before the first is copied: half an installation is worse than none.
for file in "${headers[@]}" "$library" "$pkg_config"; do
  if [[ ! -r $file ]]; then
    echo "install: $PWD/$file cannot be read; nothing was installed" >&2
    exit 1
  fi
done

install -D -m 644 -t "$prefix/include/mycelium/capi" "${headers[@]}"
install -D -m 755 "$library" "$prefix/lib/libmycelium.so"
install -D -m 644 "$pkg_config" "$prefix/lib/pkgconfig/mycelium.pc"
