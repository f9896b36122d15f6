#!/usr/bin/env bash
# Tries an archive of a release: `packaging/try.sh ARCHIVE` unpacks it, and runs the demo, which must end with exit code 3.
set -euo pipefail

archive="$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
tar -xzf "$archive"
program="$(echo "$place"/*/fleetlogs)"
"$program" --version
code=0
"$program" demo || code=$?
[ "$code" = 3 ] || { echo "the demo ended with $code, not with 3" >&2; exit 1; }
