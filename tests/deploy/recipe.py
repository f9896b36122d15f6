"""What all checks share: where the recipes are, and what they say in common.

A check takes the directory of the recipes and returns what is wrong, a line each; nothing is wrong if there is none. So it
can be given a copy that was broken on purpose.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "docs" / "deploy"

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> int:
    """A duration as the config writes it."""
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)\s*([smhd])", text))


def longest_run(config: str) -> int:
    """Seconds that a run of this config takes at most, but for the listing before it."""
    defaults = tomllib.loads((ROOT / "config" / "fleetlogs.toml").read_text())
    own = tomllib.loads(config)

    def key(table: str, name: str) -> int:
        return seconds(own.get(table, {}).get(name, defaults[table][name]))

    return key("deadlines", "run") + key("deadlines", "call") + key("verify", "deadline")


def snapshots(config: str) -> dict[str, dict]:
    """The snapshots of a config, by name."""
    return {snapshot["name"]: snapshot for snapshot in tomllib.loads(config).get("snapshot", [])}


def wrong_command(words: list[str], config: str) -> list[str]:
    """What is wrong with the arguments of fleetlogs in a recipe, as far as its config tells."""
    if words[:2] != ["schedule", "/etc/fleetlogs/fleetlogs.toml"]:
        return [f"runs `{' '.join(words)}`, not `schedule /etc/fleetlogs/fleetlogs.toml`"]
    match words[2:]:
        case []:
            return []
        case ["--once", name] if name in snapshots(config):
            return []
        case ["--once", name]:
            return [f"runs the snapshot `{name}`, which its config does not have"]
        case others:
            return [f"`{' '.join(others)}` is more than the checks know"]
