"""What all checks share: where the recipes are, and what they say in common.

A check takes the directory of the recipes and returns what is wrong, a line each; nothing is wrong if there is none. So it
can be given a copy that was broken on purpose.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "docs" / "deploy"
# Those for what people have already: pipelines, Terraform, Azure Monitor.
FITTING = ROOT / "docs" / "recipes"

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


# What recipes of scale-out run, with the arguments that may follow the config. config.py asks fleetlogs whether it knows
# them.
SCALE_OUT = {
    "fan-out": [["--detach"]],
    "run": [[]],
    "worker": [[], ["--site", "SITE"]],
}


def wrong_scale_out(words: list[str], config: str) -> list[str]:
    own = tomllib.loads(config)
    wrong = []
    if words[1:2] != ["/etc/fleetlogs/fleetlogs.toml"]:
        wrong.append(f"runs `{' '.join(words)}`, not `{words[0]} /etc/fleetlogs/fleetlogs.toml`")
    sites = {account.get("site") for account in own["account"]}
    rest = ["SITE" if before == "--site" else word for before, word in zip(words[1:], words[2:])]
    if rest not in SCALE_OUT[words[0]]:
        wrong.append(f"`{' '.join(words[2:])}` is more than the checks know")
    if words[0] == "worker" and (words[-1] if "--site" in words else None) not in sites:
        wrong.append("works on the accounts of a site that its config does not have")
    if "container" not in own.get("journal", {}):
        wrong.append("shares no record: its config has no container in [journal]")
    if words[0] != "run" and "queue" not in own.get("scale_out", {}):
        wrong.append("has no queue: its config names none in [scale_out]")
    return wrong


def wrong_scaler(metadata: dict[str, str], config: str) -> list[str]:
    """Whether a scaler counts the queue of the workers that it starts."""
    own = tomllib.loads(config)["scale_out"]
    wrong = []
    if metadata.get("accountName") != own["account"]:
        wrong.append("the scaler counts the queue of another account than the config names")
    if metadata.get("queueName") != own["queue"]:
        wrong.append("the scaler counts another queue than the config names")
    if metadata.get("queueLength") != str(own["partitions_at_once"]):
        wrong.append("the scaler counts on another number of partitions at once (queueLength)")
    if metadata.get("queueLengthStrategy", "all") != "all":
        wrong.append("the scaler counts visible messages only, which it does not from 32 messages on")
    return wrong


def wrong_command(words: list[str], config: str) -> list[str]:
    """What is wrong with the arguments of fleetlogs in a recipe, as far as its config tells."""
    if words[:1] and words[0] in SCALE_OUT:
        return wrong_scale_out(words, config)
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
