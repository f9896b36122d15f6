#!/usr/bin/env bash
# All tests with busy loops beside them: whether a test depends on how fast the machine is. Times and loops can be given:
# `tests/busy.sh 3 4` runs tests/all.sh three times beside four loops.
set -euo pipefail
cd "$(dirname "$0")/.."

times="${1:-3}"
loops=()
trap 'kill "${loops[@]}" 2>/dev/null || true' EXIT
for ((loop = 0; loop < ${2:-4}; loop++)); do
    (while :; do :; done) &
    loops+=($!)
done
for ((time = 1; time <= times; time++)); do
    SECONDS=0
    bash tests/all.sh
    printf '\n== passed %d of %d beside %d busy loops, in %d s\n' "$time" "$times" "${#loops[@]}" "$SECONDS"
done
