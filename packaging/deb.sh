#!/usr/bin/env bash
# The Debian package, of a program that is built already: `packaging/deb.sh release` after `cargo build --release`, or
# `dev` after `cargo build`. What it contains: `[package.metadata.deb]` in crates/cli/Cargo.toml. More arguments go to
# cargo-deb. Prints the path of the package.
set -euo pipefail
cd "$(dirname "$0")/.."

profile="${1:-release}"
shift || true
built="${CARGO_TARGET_DIR:-target}/$([ "$profile" = dev ] && echo debug || echo "$profile")"
program="$built/fleetlogs"
[ -x "$program" ] || { echo "there is no $program: build it first" >&2; exit 2; }

deb_version=3.8.0
tools="${FLEETLOGS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/fleetlogs-tools}"
if ! grep -qsF "cargo-deb $deb_version " "$tools/.crates.toml"; then
    CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deb --version "$deb_version" --locked --debug --no-default-features --root "$tools" >&2
fi

parts="$built/package"
bash packaging/parts.sh "$program" "$parts"
gzip --best --no-name "$parts"/man/*
mkdir "$parts/systemd"

# A package has its program elsewhere than somebody who copies it by hand.
for unit in docs/deploy/systemd/fleetlogs-*; do
    sed 's|/usr/local/bin/fleetlogs|/usr/bin/fleetlogs|; s|docs/deploy/systemd/README.md|/usr/share/doc/fleetlogs/systemd.md|' \
        "$unit" >"$parts/systemd/${unit##*/}"
done

version="$(cargo metadata --locked --no-deps --format-version 1 | python3 -c '
import json, sys
print(next(p["version"] for p in json.load(sys.stdin)["packages"] if p["name"] == "fleetlogs"))')"
date="$(date --utc --rfc-email --date="@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}")"
gzip --best --no-name >"$parts/changelog.Debian.gz" <<END
fleetlogs ($version-1) unstable; urgency=medium

  * Version $version: changelog.gz says what is new.

 -- The fleetlogs authors <authors@fleetlogs.invalid>  $date
END
gzip --best --no-name --stdout CHANGELOG.md >"$parts/changelog.gz"

"$tools/bin/cargo-deb" deb --package fleetlogs --profile "$profile" --no-build --locked --quiet "$@"
