#!/usr/bin/env bash
# Builds the manual, docs/ as a book, into target/manual, and checks what was built. A warning of mdBook is an error.
# The sources are checked by the tests in tests/house/pages.rs.
set -euo pipefail
cd "$(dirname "$0")/.."

mdbook_version=0.5.4
tools="${FLEETLOGS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/fleetlogs-tools}"
mdbook="$tools/bin/mdbook"
if ! "$mdbook" --version 2>/dev/null | grep -qF "$mdbook_version"; then
    # Without its server, which is most of it, and without debug information: it is built for one look.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install mdbook --version "$mdbook_version" --locked --debug --no-default-features \
        --features search --root "$tools"
fi

rm -rf target/manual
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
"$mdbook" build docs 2>&1 | tee "$log"
if grep -qE '\b(WARN|ERROR)\b' "$log"; then
    echo "mdBook warns: see above" >&2
    exit 1
fi
python3 tests/manual/links.py target/manual
