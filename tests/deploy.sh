#!/usr/bin/env bash
# Checks the recipes of docs/deploy and docs/recipes, and that the checks find what is broken. tests/all.sh calls this;
# alone it needs the Rust toolchain, Python 3.11 and, where systemd-analyze is missing, apt.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v systemd-analyze >/dev/null || missing+=(systemd)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if ((${#missing[@]})); then
    apt-get update -q
    apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

source tests/deploy-tools.sh
exec "$venv/bin/python" -m unittest discover --start-directory tests/deploy
