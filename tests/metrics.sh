#!/usr/bin/env bash
# Checks the dashboard and the alert rules against a real Prometheus that scrapes a real daemon, on loopback. tests/all.sh
# calls this; alone it needs the Rust toolchain, Python 3.11 and apt.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    apt-get update -q
    apt-get install -q -y --no-install-recommends python3-venv
fi

# Debian's package, unpacked and not installed: installing it would start a service.
tools="${FLEETLOGS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/fleetlogs-tools}"
prometheus="$tools/prometheus"
if ! "$prometheus/usr/bin/promtool" --version >/dev/null 2>&1; then
    package="$(mktemp -d)"
    # apt fetches as a user of its own.
    chmod 755 "$package"
    apt-get update -q
    (cd "$package" && apt-get download -q prometheus)
    rm -rf "$prometheus"
    mkdir -p "$prometheus"
    dpkg-deb --extract "$package"/prometheus_*.deb "$prometheus"
    rm -r "$package"
fi
export PROMETHEUS="$prometheus/usr/bin"

source tests/deploy-tools.sh
exec "$venv/bin/python" -m unittest discover --start-directory tests/metrics
