# Sourced by tests/deploy.sh and tests/metrics.sh: the Python environment of both in $venv, and the program in $FLEETLOGS.

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
