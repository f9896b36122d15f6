"""What Slack's own SDK finds wrong with the body for an incoming webhook, which stands on stdin: a line each on stdout."""

import json
import sys

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

# https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
KEYS = {"text", "blocks"}
MOST = 50


def check(body: dict) -> list[str]:
    wrong = [f"a message has no {key}" for key in sorted(body.keys() ^ KEYS)]
    if len(body["blocks"]) > MOST:
        wrong.append("there are too many blocks")
    for number, given in enumerate(body["blocks"]):
        where = f"blocks[{number}]"
        try:
            block = Block.parse(given)
            if block is None:
                wrong.append(f"{where}: there is no block {given.get('type')}")
                continue
            # Checks its limits.
            wrong += lost(given, block.to_dict(), where)
        except (SlackObjectFormationError, TypeError) as error:
            # A key that it does not know is no argument.
            wrong.append(f"{where}: {error}")
    return wrong


def lost(given: object, written: object, where: str) -> list[str]:
    """What the SDK does not know, it does not write again."""
    if isinstance(given, dict) and isinstance(written, dict):
        wrong = [f"{where} has no {key}" for key in given.keys() - written.keys()]
        return wrong + [line for key in given.keys() & written.keys() for line in lost(given[key], written[key], f"{where}.{key}")]
    if isinstance(given, list) and isinstance(written, list) and len(given) == len(written):
        return [line for number, pair in enumerate(zip(given, written)) for line in lost(*pair, f"{where}[{number}]")]
    return [] if given == written else [f"{where} is read as {written!r}"]


found = check(json.load(sys.stdin))
print("\n".join(found))
sys.exit(1 if found else 0)
