#!/usr/bin/env bash
# The Debian package, as a person gets it: built, installed, and used in a directory without a checkout, from the demo to
# the bundle of a run that a config of `fleetlogs init` made; then removed. tests/all.sh calls this; alone it needs the
# Rust toolchain and dpkg. As root it installs with dpkg, if no fleetlogs is on the machine; otherwise it unpacks the
# package into a directory, which leaves its scripts and its dependencies untested, and says so.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    printf 'the package: %s\n' "$*" >&2
    exit 1
}

work="$(mktemp -d)"
simulator=
installed=
end() {
    if [ -n "$simulator" ]; then kill "$simulator" 2>/dev/null || true; fi
    if [ -n "$installed" ]; then dpkg --purge fleetlogs >/dev/null || true; fi
    rm -rf "$work"
}
trap end EXIT

# As tests/all.sh builds it, so that nothing is built twice.
cargo test --quiet --locked --workspace --all-features --no-run
# Compressing what is thrown away takes longer than anything else here.
bash packaging/deb.sh dev --fast --output "$work/fleetlogs.deb" >/dev/null
version="$(dpkg-deb --field "$work/fleetlogs.deb" Version)"

if command -v lintian >/dev/null; then
    # Warnings are for those who put it into a distribution.
    lintian --allow-root --fail-on error "$work/fleetlogs.deb"
else
    echo "not tested: what lintian says; it is not on this machine"
fi

if [ "$(id -u)" = 0 ] && ! dpkg-query --status fleetlogs >/dev/null 2>&1 && ! command -v fleetlogs >/dev/null; then
    installed=yes
    root=
    dpkg --install "$work/fleetlogs.deb" >/dev/null
else
    echo "not tested: that dpkg installs and removes it; that needs root, and a machine without a fleetlogs"
    root="$work/root"
    dpkg-deb --extract "$work/fleetlogs.deb" "$root"
fi

for file in bin/fleetlogs lib/systemd/system/fleetlogs-schedule.service lib/systemd/system/fleetlogs-snapshot@.service \
    lib/systemd/system/fleetlogs-snapshot@.timer share/man/man1/fleetlogs.1.gz share/man/man1/fleetlogs-run.1.gz \
    share/bash-completion/completions/fleetlogs share/zsh/vendor-completions/_fleetlogs \
    share/fish/vendor_completions.d/fleetlogs.fish share/doc/fleetlogs/copyright share/doc/fleetlogs/changelog.gz \
    share/doc/fleetlogs/examples/fleetlogs.toml share/doc/fleetlogs/systemd.md; do
    [ -s "$root/usr/$file" ] || fail "it has no /usr/$file"
done
commands="$("$root/usr/bin/fleetlogs" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p' | grep -vx help)"
for command in $commands; do
    gunzip --stdout "$root/usr/share/man/man1/fleetlogs-$command.1.gz" | grep -q '^\.TH ' || fail "no man page of $command"
done
! grep -rn /usr/local "$root"/usr/lib/systemd/system/fleetlogs-* || fail "a unit names another place"
if [ -n "$installed" ] && command -v systemd-analyze >/dev/null; then
    # Among others, that the program that the units start is there.
    systemd-analyze verify --recursive-errors=no /usr/lib/systemd/system/fleetlogs-schedule.service
else
    echo "not tested: the units with systemd-analyze"
fi

# Somebody's directory: no checkout, and nothing of this machine's settings.
mkdir "$work/home"
cd "$work/home"
path="$root/usr/bin:/usr/bin:/bin"
fleetlogs() {
    env --ignore-environment PATH="$path" HOME="$work/home" ${identity:-} fleetlogs "$@"
}
# The exit code that a command must have, and the command. What it says is shown if it has another.
must() {
    local code="$1" got=0
    shift
    fleetlogs "$@" >"$work/out" 2>&1 || got=$?
    [ "$got" = "$code" ] || fail "\`fleetlogs $*\` ended with $got, not with $code: $(cat "$work/out")"
}

completed="$(env --ignore-environment PATH="$path" bash -c '
    source "$1"
    COMP_WORDS=(fleetlogs dem) COMP_CWORD=1 COMP_TYPE=9
    _clap_complete_fleetlogs fleetlogs dem fleetlogs
    echo "${COMPREPLY[*]}"' - "$root/usr/share/bash-completion/completions/fleetlogs")"
[ "$completed" = demo ] || fail "bash completes \`dem\` to \`$completed\`"

must 0 --version
grep -q "fleetlogs ${version%-*}" "$work/out" || fail "the version is $(cat "$work/out")"
must 0 schedule --list "$root/usr/share/doc/fleetlogs/examples/fleetlogs.toml"
must 3 demo
[ -s runs/*/report.html ] || fail "the demo left no report"

# A fleet that is served beside, with Resource Manager and Entra, and a config for it that `init` finds by itself.
cat >fleet.toml <<'END'
[[account]]
name = "contoso"
[[account.pool]]
id = "render"
nodes = 8
arrival = "50ms"
END
# Not by the function: its process would be that of a shell, and end alone.
env --ignore-environment PATH="$path" HOME="$work/home" fleetlogs sim fleet.toml --ready ready.json 2>sim.log &
simulator=$!
while ! [ -e ready.json ]; do
    kill -0 "$simulator" || fail "the simulator ended: $(cat sim.log)"
    sleep 0.1
done
read -r identity_endpoint identity_header arm < <(python3 -c '
import json
ready = json.load(open("ready.json"))
print(*ready["environment"].values(), ready["arm"])')
identity="IDENTITY_ENDPOINT=$identity_endpoint IDENTITY_HEADER=$identity_header"
must 0 init --discover --management "$arm"
# The simulator's files are there at once.
printf '\n[verify]\nsettle = "1s"\n' >>fleetlogs.toml
must 0 check
must 0 run
must 0 status latest
must 0 bundle latest --with-logs
must 0 bundle --check ./*.zip
kill "$simulator"
simulator=

if [ -n "$installed" ]; then
    dpkg --listfiles fleetlogs >"$work/files"
    dpkg --purge fleetlogs >/dev/null
    installed=
    while read -r file; do
        if [ -f "$file" ]; then fail "$file is still there after its removal"; fi
    done <"$work/files"
fi
echo "the package $version works"
