#!/usr/bin/env bash
# Mutation tests of the engine: tests/mutants/mutants.py says how. Takes half an hour on two idle cores, and continues where
# it was stopped; remove target/mutants to begin anew.
set -euo pipefail
cd "$(dirname "$0")/.."

mutants_version=27.1.0
tools="${FLEETLOGS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/fleetlogs-tools}"
if ! "$tools/bin/cargo-mutants" --version 2>/dev/null | grep -qF "$mutants_version"; then
    cargo install cargo-mutants --version "$mutants_version" --locked --debug --root "$tools"
fi
venv=tests/tools/mutants-venv
if ! cmp -s tests/tools/mutants-requirements.txt "$venv/.stamp"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
        -r tests/tools/mutants-requirements.txt
    cp tests/tools/mutants-requirements.txt "$venv/.stamp"
fi
PATH="$tools/bin:$PATH" exec "$venv/bin/python" tests/mutants/mutants.py
