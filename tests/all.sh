#!/usr/bin/env bash
# All tests and checks of fleetlogs, from a clean checkout. Needs the Rust toolchain, git, Node with npm, Python 3.11 and,
# where something is missing that Debian has, apt. What it installs goes into tests/tools and, for cargo-deny, cargo-deb and
# mdBook, into a cache outside the checkout, which only saves time.
set -euo pipefail
cd "$(dirname "$0")/.."

# With the seconds since the beginning.
step() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

missing=()
command -v cc >/dev/null || missing+=(build-essential)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
command -v npm >/dev/null || missing+=(npm)
# The browser that looks at report.html, and letters for it.
command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core)
command -v unzip >/dev/null || missing+=(unzip)
if ((${#missing[@]})); then
    step "installing ${missing[*]}"
    apt-get update -q
    apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

step "Azurite, the driver of the browser, the Azure SDKs for Python, Standard Webhooks and the libraries of chats, pinned"
# Installed anew only when the pins change.
npm_stamp=tests/tools/node_modules/.stamp
if ! cmp -s tests/tools/package-lock.json "$npm_stamp"; then
    npm ci --prefix tests/tools --ignore-scripts --no-fund --no-audit --loglevel=error
    cp tests/tools/package-lock.json "$npm_stamp"
fi
venv_stamp=tests/tools/venv/.stamp
if ! cmp -s tests/tools/requirements.txt "$venv_stamp"; then
    python3 -m venv --clear tests/tools/venv
    tests/tools/venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
        -r tests/tools/requirements.txt
    cp tests/tools/requirements.txt "$venv_stamp"
fi

step "format"
cargo fmt --all --check

step "clippy"
cargo clippy --locked --workspace --all-targets --all-features -- -D warnings

step "tests"
# Most end-to-end tests wait for a simulated fleet: eight of them at once keep two cores busy.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-8}"
not_tested=()
unshare -rn true 2>/dev/null || not_tested+=("a site in a network of its own: this machine does not allow \`unshare -rn\`")
# Where the test processes note which transitions of nodes they see.
transitions="$(mktemp -d)"
# With the places where tests end the process; a normal build has none.
# The transitions come last.
NODE_TRANSITIONS="$transitions" cargo test --locked --workspace --all-features --no-fail-fast -- --include-ignored \
    --skip every_transition_is_seen_or_impossible

step "transitions of a node"
# What no test has seen is tested, or named impossible: docs/design/transitions.md.
TRANSITIONS_SEEN="$transitions" cargo test --locked --workspace --all-features --test transitions -- --include-ignored --nocapture
rm -r "$transitions"

step "recipes of docs/deploy and docs/recipes"
bash tests/deploy.sh

step "metrics, alert rules and dashboard"
bash tests/metrics.sh

step "Debian package"
bash tests/deb.sh

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

step "manual"
bash tests/manual.sh

step "licences, duplicates, sources"
deny_version=0.20.2
tools="${FLEETLOGS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/fleetlogs-tools}"
deny="$tools/bin/cargo-deny"
if ! "$deny" --version 2>/dev/null | grep -qF "$deny_version"; then
    cargo install cargo-deny --version "$deny_version" --locked --debug --no-default-features --root "$tools"
fi
"$deny" check licenses bans sources

step "advisories"
# The RustSec database cannot be fetched from everywhere, CI among others, and it is not kept here: it would be old soon.
if [ -n "${FLEETLOGS_ADVISORY_DB:-}" ]; then
    bash tests/advisories.sh
else
    not_tested+=("advisories: FLEETLOGS_ADVISORY_DB names no checkout of the RustSec advisory database")
fi

step "all passed"
for what in "${not_tested[@]}"; do
    echo "not tested: $what"
done
