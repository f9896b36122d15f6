#!/usr/bin/env bash
# What a package has beside the program, and the program itself writes: `packaging/parts.sh PROGRAM DIR`.
set -euo pipefail

program="$1"
parts="$2"
rm -rf "$parts"
mkdir -p "$parts/man"
"$program" man --dir "$parts/man" 2>/dev/null
"$program" completions bash >"$parts/fleetlogs.bash"
"$program" completions fish >"$parts/fleetlogs.fish"
# zsh loads the file when somebody first asks for a completion, and takes it for the function that gives the answer.
{
    "$program" completions zsh
    echo 'if [[ "${funcstack[1]}" == _fleetlogs ]]; then _clap_dynamic_completer_fleetlogs "$@"; fi'
} >"$parts/_fleetlogs"
