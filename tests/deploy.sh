#!/usr/bin/env bash
# Checks the recipes of docs/deploy and docs/recipes, and that the checks find what is broken. tests/all.sh calls this; alone it needs the Rust
# toolchain, Python 3.11 and, where systemd-analyze is missing, apt.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v systemd-analyze >/dev/null || missing+=(systemd)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if ((${#missing[@]})); then
    apt-get update -q
    apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

# Installed anew only when the pins change.
venv=tests/tools/deploy-venv
if ! cmp -s tests/tools/deploy-requirements.txt "$venv/.stamp"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
        -r tests/tools/deploy-requirements.txt
    cp tests/tools/deploy-requirements.txt "$venv/.stamp"
fi

# As tests/all.sh builds it, so that nothing is built twice.
cargo test --quiet --locked --workspace --all-features --no-run
FLEETLOGS="$(realpath "${CARGO_TARGET_DIR:-target}")/debug/fleetlogs"
export FLEETLOGS
exec "$venv/bin/python" -m unittest discover --start-directory tests/deploy
