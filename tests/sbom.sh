#!/usr/bin/env bash
# The release, with a list of what it is made of: builds the program without a network and with its list of packages in it
# (`cargo audit bin` and other scanners read it there), and writes target/release/fleetlogs.cdx.json (CycloneDX). Fails if
# the compiler saw a package that is not in that list, or not in Cargo.lock.
set -euo pipefail
cd "$(dirname "$0")/.."

auditable_version=0.7.7
tools="${FLEETLOGS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/fleetlogs-tools}"
auditable="$tools/bin/cargo-auditable"
if ! grep -qsF "cargo-auditable $auditable_version " "$tools/.crates.toml"; then
    cargo install cargo-auditable --version "$auditable_version" --locked --debug --root "$tools"
fi

cargo fetch --locked
# A build script that fetches something fails here.
alone=()
if unshare -rn true 2>/dev/null; then
    alone=(unshare -rn)
else
    echo "not tested: that the build needs no network; this machine does not allow \`unshare -rn\`"
fi
target="${CARGO_TARGET_DIR:-target}"
built="$(mktemp)"
trap 'rm "$built"' EXIT
"${alone[@]}" "$auditable" auditable build --release --locked --offline --package fleetlogs \
    --message-format=json-render-diagnostics >"$built"
python3 tests/sbom/sbom.py "$target/release/fleetlogs" "$built" "$target/release/fleetlogs.cdx.json"
