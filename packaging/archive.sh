#!/usr/bin/env bash
# The archive of a release: `packaging/archive.sh TARGET PROGRAM DIR` writes DIR/fleetlogs-VERSION-TARGET.tar.gz, with the
# program, its man pages and completions, the change log and the licences.
set -euo pipefail
cd "$(dirname "$0")/.."

target="$1"
program="$2"
dir="$3"
version="$("$program" --version | sed -n '1s/^fleetlogs \([^ ]*\).*/\1/p')"
name="fleetlogs-$version-$target"
stage="$(mktemp -d)"
trap 'rm -rf "$stage"' EXIT
bash packaging/parts.sh "$program" "$stage/$name"
mkdir "$stage/$name/completions"
mv "$stage/$name/fleetlogs.bash" "$stage/$name/fleetlogs.fish" "$stage/$name/_fleetlogs" "$stage/$name/completions"
cp "$program" "$stage/$name/fleetlogs"
cp CHANGELOG.md LICENSE-APACHE LICENSE-MIT README.md "$stage/$name"
mkdir -p "$dir"
tar -C "$stage" -czf "$dir/$name.tar.gz" "$name"
echo "$dir/$name.tar.gz"
