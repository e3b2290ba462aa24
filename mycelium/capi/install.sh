#!/bin/bash
# Installs the C interface below a directory, as `make install` would:
#
#   bazel run -c opt //mycelium/capi:install -- PREFIX
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
# `bazel run` starts programs in the runfiles.
cd_to=${BUILD_WORKING_DIRECTORY:-$PWD}
prefix=$(cd "$cd_to" && mkdir -p "$1" && cd "$1" && pwd)

install -D -m 644 -t "$prefix/include/mycelium/capi" \
  mycelium/capi/mycelium.h mycelium/capi/mycelium_*.h
install -D -m 755 mycelium/libmycelium.so "$prefix/lib/libmycelium.so"
install -D -m 644 mycelium/capi/mycelium.pc "$prefix/lib/pkgconfig/mycelium.pc"
