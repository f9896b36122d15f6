#!/usr/bin/env bash
# Fuzzes with libFuzzer: `run.sh` all targets for ten minutes each, two at a time; `run.sh TARGET MINUTES` one of them. What
# it finds goes into tests/fuzz/found, and ends it with an error. `run.sh --minimise TARGET` makes the corpus of a target
# of what runs have found worth keeping. See docs/design/fuzzing.md.
set -euo pipefail
cd "$(dirname "$0")"

# The options for the compiler are in .cargo/config.toml.
cargo build --release --locked --quiet
program="$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')"
program="$program/$(rustc --print host-tuple)/release/fleetlogs-fuzz"
export FLEETLOGS_CONTAINER_URL="https://logs.blob.core.windows.net/batch?sp=cw&se=2036-01-01&sr=c&sv=2022-11-02&sig=none"

# What is worth keeping of all runs; not a part of the repository.
kept() { printf 'kept/%s' "$1"; }

fuzz() {
    local target="$1" minutes="$2"
    mkdir -p "$(kept "$target")" found logs
    # The largest inputs of a corpus are below 16 KiB; an input takes microseconds, a cron expression whose time
    # never comes a second.
    FLEETLOGS_FUZZ_TARGET="$target" "$program" "$(kept "$target")" "corpus/$target" \
        -max_total_time=$((minutes * 60)) -max_len=16384 -timeout=60 -rss_limit_mb=1024 -use_value_profile=1 \
        -artifact_prefix="found/$target-" -print_final_stats=1 >"logs/$target" 2>&1 || {
        echo "$target: found something, see tests/fuzz/logs/$target"
        return 1
    }
    echo "$target: $(grep -oE 'number_of_executed_units: [0-9]+' "logs/$target"), $(grep -oE 'cov: [0-9]+ ft: [0-9]+' "logs/$target" | tail -1)"
}

if [ "${1:-}" = --minimise ]; then
    new="$(mktemp -d)"
    FLEETLOGS_FUZZ_TARGET="$2" "$program" -merge=1 "$new" "corpus/$2" "$(kept "$2")"
    echo "$new"
elif [ -n "${1:-}" ]; then
    fuzz "$1" "${2:-10}"
else
    failed=0
    mapfile -t targets < <(ls corpus)
    for target in "${targets[@]}"; do
        while (($(jobs -rp | wc -l) >= 2)); do wait -n || failed=1; done
        fuzz "$target" 10 &
    done
    while (($(jobs -p | wc -l) > 0)); do wait -n || failed=1; done
    exit "$failed"
fi
