#!/bin/bash
# Every law holds in every execution of every scenario.
set -euo pipefail

"$1"
