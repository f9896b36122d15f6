#!/usr/bin/env bash
# Holds Cargo.lock against a copy of the RustSec advisory database, without a network: FLEETLOGS_ADVISORY_DB names a
# checkout of it. tests/all.sh calls this if there is one. With a network: cargo deny check advisories.
set -euo pipefail
cd "$(dirname "$0")/.."

deny="${FLEETLOGS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/fleetlogs-tools}/bin/cargo-deny"
command -v "$deny" >/dev/null || deny=cargo-deny
copy="$(realpath "${FLEETLOGS_ADVISORY_DB:?names no checkout of the RustSec advisory database}")"

offline="$(mktemp -d)"
trap 'rm -r "$offline"' EXIT
# The name that cargo-deny gives to the database of its default URL.
ln -s "$copy" "$offline/advisory-db-3157b0e258782691"
sed "s|^\[advisories\]|&\ndb-path = \"$offline\"|" deny.toml >"$offline/deny.toml"
# cargo-deny takes the age of a database from when it was cloned.
if (($(git -C "$copy" log -1 --format=%ct) < $(date +%s) - 365 * 24 * 3600)); then
    echo "the copy is of $(git -C "$copy" log -1 --format=%cs): more than a year old" >&2
    exit 1
fi
echo "the copy is of $(git -C "$copy" log -1 --format=%cs) and has $(find "$copy/crates" -name 'RUSTSEC-*.md' | wc -l) advisories"
"$deny" --config "$offline/deny.toml" --offline check advisories
