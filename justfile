# Shortcuts for people; nothing needs `just`.

# What CI runs.
check:
    bash tests/all.sh

# The demo fleet.
demo:
    cargo run --release -- demo

# Quick look while working: no installed servers needed.
test:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace

# An hour of two daemons in bad weather: nothing lost, nothing doubled, nothing grows. The figures are in target/tmp/soak;
# docs/design/soak.md explains them. Needs Azurite: tests/all.sh installs it.
soak minutes="60":
    FLEETLOGS_SOAK={{minutes}} cargo test --locked --workspace --all-features --test e2e -- --include-ignored --nocapture soak::hour

# Two thousand kills, and what comes of them.
soak-kills:
    FLEETLOGS_KILLS=2000 cargo test --release --features failpoints -p fleetlogs --test e2e crashes -- --nocapture

# Fuzzing with libFuzzer: every reader of bytes from outside for ten minutes, two at a time. One of them for some minutes:
# `just fuzz sas 3`. Needs a C++ compiler. The short form is a part of `cargo test`. See docs/design/fuzzing.md.
fuzz target="" minutes="10":
    bash tests/fuzz/run.sh "{{target}}" "{{minutes}}"

# Fifty stories of shared runs in which machines are lost and storage goes away. Needs Azurite: tests/all.sh installs it.
soak-scaleout:
    FLEETLOGS_STORIES=50 cargo test --locked --workspace --all-features --test e2e -- --include-ignored --nocapture disasters

# All tests three times, beside four busy loops: a test must not depend on how fast the machine is.
busy:
    bash tests/busy.sh 3 4

# Additional changes of what is stored or published: the locks follow. Refuses any other change.
accept-formats:
    FLEETLOGS_ACCEPT_FORMATS=1 cargo test --locked --workspace --all-features --lib --test formats locked
    FLEETLOGS_ACCEPT_FORMATS=1 cargo test --locked --workspace --all-features --test e2e -- --include-ignored earlier_versions

# What earlier versions have stored, and what is stored and published now, against its locks.
upgrades:
    cargo test --locked --workspace --all-features --lib --test formats locked
    cargo test --locked --workspace --all-features --test e2e -- --include-ignored upgrades

# Which transitions of a node the engine's tests and the crash tests see. tests/all.sh counts all tests.
transitions:
    #!/usr/bin/env bash
    set -euo pipefail
    dir="$(mktemp -d)"
    NODE_TRANSITIONS="$dir" cargo test --locked -p fleetlogs-engine --all-features --lib
    NODE_TRANSITIONS="$dir" cargo test --locked --workspace --all-features --test e2e -- crashes fleet proof resuming stopping
    TRANSITIONS_SEEN="$dir" cargo test --locked -p fleetlogs-model --test transitions -- --include-ignored --nocapture

# The manual as a book: target/manual/index.html.
manual:
    bash tests/manual.sh

# The picture of the README, docs/demo.svg: from a real run. Needs tmux.
picture:
    cargo build --release
    python3 tests/manual/demo_picture.py target/release/fleetlogs

# The documentation of the crates.
doc:
    cargo doc --workspace --no-deps --document-private-items --open

# Licences, duplicates and sources; needs cargo-deny.
deny:
    cargo deny check licenses bans sources

# Known vulnerabilities, without a network: just advisories path/to/advisory-db
advisories db:
    FLEETLOGS_ADVISORY_DB={{db}} bash tests/advisories.sh

# The tests that the security page and the list of faults name exist.
security:
    cargo test -p fleetlogs-model --test house every_test_that_a_page_names_exists

# The release with its list of packages, as a program and as CycloneDX: target/release/fleetlogs.cdx.json.
sbom:
    bash tests/sbom.sh

# The Debian package of the release: target/debian.
deb:
    cargo build --release --locked
    bash packaging/deb.sh release

# The package installed, used from the demo to the bundle, and removed.
test-deb:
    bash tests/deb.sh

# Does a test fail if the engine is wrong? About half an hour; continues where it was stopped.
mutants:
    bash tests/mutants.sh

# How fast: calls per second against a bare loop on the same server. How considerate: beside somebody else's calls. How
# the cost of every command grows with the fleet: `cargo bench -p fleetlogs --bench scale -- --million` adds a million
# nodes. What workers and a journal in Blob storage cost, and last, against the official SDK: both need what tests/all.sh
# installs. The scenes of the pace take forty minutes.
bench:
    cargo bench -p fleetlogs --bench throughput
    cargo bench -p fleetlogs --bench throughput -- --journal
    cargo bench -p fleetlogs --bench pace
    cargo bench -p fleetlogs --bench eta
    cargo bench -p fleetlogs --bench scale
    FLEETLOGS_BENCH=1 cargo test --locked --workspace --all-features --test e2e -- --include-ignored --nocapture the_page_of_ten_thousand
    cargo bench -p fleetlogs --bench scale_out
    cargo bench -p fleetlogs --bench throughput -- --python-sdk
