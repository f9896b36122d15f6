#!/usr/bin/env bash
# The notes of a release: `packaging/notes.sh VERSION [URL]` prints the section of CHANGELOG.md, with its links to files below
# URL. Fails if there is none or it is empty, and if VERSION is not that of the program; `Unreleased` is any version.
set -euo pipefail
cd "$(dirname "$0")/.."

version="$1"
own="$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)"
if [ "$version" != Unreleased ] && [ "$version" != "$own" ]; then
    echo "the program has the version $own, not $version" >&2
    exit 1
fi
notes="$(awk -v heading="## [$version]" '
    /^## / { inside = index($0, heading) == 1; next }
    inside' CHANGELOG.md)"
# Without the lines before and after it that are empty.
notes="$(sed '/./,$!d' <<<"$notes")"
if [ -z "$notes" ]; then
    echo "CHANGELOG.md says nothing of $version" >&2
    exit 1
fi
sed "s|](docs/|](${2:+$2/}docs/|g" <<<"$notes"
